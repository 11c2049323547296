//! What outlives a process: files of SQLite, one for each kind of store (SPEC.md section 10.1).
//!
//! SQLite was chosen because a data directory has to survive what its machine does not: a
//! transaction is there whole or not at all, also after a power cut, and the file needs no service
//! beside it. The library is compiled in.
//!
//! [`log`] is the broker's, with the lines of its rooms. [`sqlite`] opens such files, and sorts what can go wrong by who has to do something about it.

pub mod journal;
pub mod log;
pub mod sqlite;
