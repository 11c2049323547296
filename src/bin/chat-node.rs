//! The node. What it does is in `tertulia::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tertulia::cli::chat_node()
}
