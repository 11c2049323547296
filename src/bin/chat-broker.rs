//! chat-broker
fn main() {}
