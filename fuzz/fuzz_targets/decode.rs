//! Whatever decodes, as a handshake datagram or as the frames of a packet, encodes to the same
//! bytes again; and nothing panics.
//!
//! `cargo +nightly fuzz run decode` looks for counterexamples. What it has found worth keeping is in
//! `corpus/decode`, which the ordinary tests replay (`tests/fuzz_corpus.rs`).

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tertulia::wire::roundtrip::check(input));
