//! Whatever becomes of the files of a broker or a node, nothing panics, and what is handed out is
//! what was written.
//!
//! `cargo +nightly fuzz run store_file` looks for counterexamples; see `src/store_file.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    tertulia_fuzz::store_file::check(input);
});
