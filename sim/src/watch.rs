//! Invariant 12: no panic, and no ERROR line in the log, on the thread of a run.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

thread_local! {
    static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `what`; the error is the panic, or the first ERROR line.
///
/// # Errors
///
/// If there was either.
pub fn watched<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    static SET_UP: Once = Once::new();
    SET_UP.call_once(|| {
        // Somebody else's subscriber would be a test's own business; then only panics are seen.
        let _ = tracing::subscriber::set_global_default(Errors);
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if IS_WATCHED.get() {
                say(format!("panic: {info}"));
            } else {
                usual(info);
            }
        }));
    });
    let _ = SAID.take();
    IS_WATCHED.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(what));
    IS_WATCHED.set(false);
    match (result, SAID.take()) {
        (Ok(value), None) => Ok(value),
        (Ok(_) | Err(_), Some(said)) => Err(said),
        (Err(_), None) => Err("panic".to_owned()),
    }
}

fn say(what: String) {
    SAID.with_borrow_mut(|said| {
        said.get_or_insert(what);
    });
}

/// A subscriber that hears nothing but errors.
struct Errors;

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::ERROR)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if IS_WATCHED.get() {
            let mut line = Line("ERROR".to_owned());
            event.record(&mut line);
            say(line.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event's fields as text.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_and_an_error_line_are_both_told() {
        assert_eq!(watched(|| 1), Ok(1));
        let panicked = watched(|| -> u32 { panic!("so it goes") });
        assert!(panicked.unwrap_err().contains("so it goes"));
        let logged = watched(|| tracing::error!(room = "lobby", "broken"));
        assert_eq!(logged.unwrap_err(), "ERROR message=broken room=\"lobby\"");
        assert_eq!(watched(|| tracing::warn!("well")), Ok(()));
    }
}
