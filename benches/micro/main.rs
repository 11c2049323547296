//! What the layers cost, one by one: `cargo bench --bench micro`.
//!
//! Every input is the same in every run; only the times differ. PERFORMANCE.md says what they were.

// Shared with the count of allocations, which uses another part of it.
#[path = "../crowd/mod.rs"]
mod crowd;

mod codec;
mod fanout;
mod gate;
mod link;
mod log;
mod packet;

fn main() {
    divan::main();
}
