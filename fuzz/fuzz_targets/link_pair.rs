//! Whatever a network does to two links, each message arrives once and in order; and whatever a
//! peer does to a link, nothing but that link ends.
//!
//! `cargo +nightly fuzz run link_pair` looks for counterexamples; see `src/link_pair.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tertulia_fuzz::link_pair::check(input);
});
