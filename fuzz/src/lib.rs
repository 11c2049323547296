//! What the fuzz targets check: for each a function that takes the fuzzer's bytes and panics if
//! something that must hold does not.
//!
//! They live here, outside the library, and use only what the library offers to anybody; nothing in
//! the library is public or compiled for their sake. The targets in `fuzz_targets/` call them, and
//! so does `tests/fuzz_corpus.rs` of the package above, which includes this very file: what the
//! fuzzer has found worth keeping is replayed by every `cargo test`, with an ordinary compiler.
//!
//! [`decode`] checks what is decoded, also by [`tertulia::wire::roundtrip`], which unit tests use as
//! well. [`handshake`] and [`link_pair`] work alike. The input is read as a seed and a list of steps.
//! Whatever is sent goes into a [`network`] that delivers nothing by itself: steps deliver, drop,
//! repeat, damage and forge. When the steps are used up the network heals, and what the protocol
//! promises has to come true within bounded virtual time. [`noise_payload`] is for what no network
//! can do: a peer whose keys are right, and whose payloads are not. [`store_file`] is for what a
//! disk can do.

pub mod decode;
pub mod handshake;
pub mod link_pair;
mod network;
pub mod noise_payload;
pub mod store_file;
