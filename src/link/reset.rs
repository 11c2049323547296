//! Knowing a stateless reset when it comes (RST-4).

use crate::secure::is_token;
use crate::transmit::Path;
use crate::wire::{RESET_TOKEN_LEN, ResetToken};

/// By what a node knows that the broker has nothing left of a link, also after the node itself has
/// given that link up.
#[derive(Clone, Debug)]
pub struct ResetWatch {
    pub(super) path: Path,
    pub(super) tokens: Vec<ResetToken>,
}

impl ResetWatch {
    /// Whether a datagram that came over `path` is a reset of that link.
    #[must_use]
    pub fn recognizes(&self, path: Path, datagram: &[u8]) -> bool {
        let tail: Option<&[u8; RESET_TOKEN_LEN]> = datagram.last_chunk();
        path == self.path
            && tail.is_some_and(|tail| self.tokens.iter().any(|token| is_token(tail, token)))
    }
}
