//! Whatever a peer with right keys says of itself in a handshake, it gets no link for an account
//! that does not vouch for it, and the honest ones find each other afterwards.
//!
//! `cargo +nightly fuzz run noise_payload` looks for counterexamples; see `src/noise_payload.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tertulia_fuzz::noise_payload::check(input);
});
