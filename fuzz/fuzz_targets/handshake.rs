//! Whatever a network does to a handshake, both sides bear it, and are connected with each other
//! once the network has healed.
//!
//! `cargo +nightly fuzz run handshake` looks for counterexamples; see `src/handshake.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tertulia_fuzz::handshake::check(input);
});
