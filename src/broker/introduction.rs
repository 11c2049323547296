//! How a seat learns whom an author number stands for.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::storage::Author;
use crate::chat::{Name, RoomFromBroker};

/// An author, and the message that introduces them (RUM-6): encoded when the first seat needs it,
/// and shared by all that do.
#[derive(Debug)]
pub(super) struct Introduction {
    author: Author,
    message: OnceLock<Bytes>,
}

impl Introduction {
    /// Of this author: the one of those `known` that is of them, if any is, so that all that a room
    /// has of an author shares one.
    pub(super) fn of<'a>(
        author: Author,
        known: impl IntoIterator<Item = &'a Arc<Self>>,
    ) -> Arc<Self> {
        let mut known = known.into_iter();
        match known.find(|known| known.author == author) {
            Some(known) => Arc::clone(known),
            None => Arc::new(author.into()),
        }
    }

    /// The author's name.
    pub(super) const fn name(&self) -> &Name {
        &self.author.name
    }

    /// The number that is introduced.
    pub(super) const fn number(&self) -> u64 {
        self.author.number
    }

    pub(super) fn message(&self) -> Bytes {
        let encode = || {
            let Author {
                number,
                account,
                device,
                ref name,
            } = self.author;
            let name = name.as_str().to_owned();
            RoomFromBroker::Introduce {
                author: number,
                account,
                device,
                name,
            }
            .encode()
        };
        self.message.get_or_init(encode).clone()
    }
}

impl From<Author> for Introduction {
    fn from(author: Author) -> Self {
        Self {
            author,
            message: OnceLock::new(),
        }
    }
}
