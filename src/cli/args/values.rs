//! What an argument can be.

use core::num::NonZeroU64;
use std::time::Duration;

use crate::chat::{Name, Role, RoomName};

/// Something that may be without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Limit<T> {
    At(T),
    None,
}

pub(super) fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}

pub(super) fn room(text: &str) -> Result<RoomName, String> {
    RoomName::new(text).map_err(|error| error.to_string())
}

pub(super) fn uses(text: &str) -> Result<Limit<NonZeroU64>, String> {
    match text {
        "any" => Ok(Limit::None),
        _ => text
            .parse()
            .map(Limit::At)
            .map_err(|_| "a number from 1 on, or any".to_owned()),
    }
}

pub(super) fn seconds(text: &str) -> Result<NonZeroU64, String> {
    let seconds = positive_duration(text)?.as_secs();
    NonZeroU64::new(seconds).ok_or_else(|| "must be a second or more".to_owned())
}

pub(super) fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "owner, moderator or member".to_owned())
}

pub(super) fn expiry(text: &str) -> Result<Limit<Duration>, String> {
    match text {
        "never" => Ok(Limit::None),
        _ => positive_duration(text).map(Limit::At),
    }
}

pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        Err("must be longer than nothing".to_owned())
    } else {
        Ok(duration)
    }
}
