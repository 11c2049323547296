//! Whatever decodes, as a handshake datagram, as the frames of a packet or as a message, encodes to
//! the same bytes again; and nothing panics.
//!
//! `cargo +nightly fuzz run decode` looks for counterexamples. What it has found worth keeping is in
//! `corpus/decode`, which the ordinary tests replay (`tests/fuzz_corpus.rs`).

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let _ = tertulia_fuzz::decode::check(input);
});
