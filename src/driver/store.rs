//! Where requests of a machine go, and completions come from.

use std::collections::VecDeque;
use std::future::{Future, pending, ready};

use crate::broker::{MemoryStore, StorageCompletion, StorageRequest};
use crate::client::JournalRequest;

/// Does what a machine asks to be stored.
///
/// A store may take its time, but answers every request, and those of one room in the order in
/// which they came (BRK-5).
pub trait Store: Send + 'static {
    /// What is asked.
    type Request;
    /// The answer, which says that it is done as durably as this store does anything.
    type Completion;

    /// Begins to do what is asked.
    fn submit(&mut self, request: Self::Request);

    /// An answer, if there is one.
    fn take(&mut self) -> Option<Self::Completion>;

    /// Waits until [`take`](Self::take) has something; for ever if nothing is under way. Can be
    /// cancelled without loss.
    fn ready(&mut self) -> impl Future<Output = ()> + Send;
}

/// A store that does everything at once: in memory.
pub struct Immediate<R, C> {
    handle: Box<dyn FnMut(R) -> C + Send>,
    done: VecDeque<C>,
}

impl<R, C> Immediate<R, C> {
    /// Answers each request with what `handle` makes of it.
    pub fn new(handle: impl FnMut(R) -> C + Send + 'static) -> Self {
        Self {
            handle: Box::new(handle),
            done: VecDeque::new(),
        }
    }
}

impl<R: 'static, C: Send + 'static> Store for Immediate<R, C> {
    type Request = R;
    type Completion = C;

    fn submit(&mut self, request: R) {
        self.done.push_back((self.handle)(request));
    }

    fn take(&mut self) -> Option<C> {
        self.done.pop_front()
    }

    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        let is_ready = !self.done.is_empty();
        async move {
            if is_ready {
                ready(()).await;
            } else {
                pending::<()>().await;
            }
        }
    }
}

/// A broker's store that lasts as long as the process.
#[must_use]
pub fn memory_store(mut store: MemoryStore) -> Immediate<StorageRequest, StorageCompletion> {
    Immediate::new(move |request| store.handle(request))
}

/// A node's journal that lasts as long as the process: the machine's own memory is all there is, so
/// that everything is journaled as soon as it is asked for.
#[must_use]
pub fn memory_journal() -> Immediate<JournalRequest, u64> {
    Immediate::new(|request: JournalRequest| request.id)
}
