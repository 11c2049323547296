//! Devices in words, by their fingerprints (CLI-25), and what a host does about them (CLI-28).

use std::io::{self, Write as _};
use std::path::Path;

use super::args::{DevicesTask, HostDevicesArgs};
use super::broker::log_path;
use super::exit::{Code, Failure};
use super::invite::at;
use crate::broker::DeviceRow;
use crate::chat::{DeviceEntry, visible};
use crate::driver::Clock;
use crate::secure::DeviceKey;
use crate::store::log::DeviceDesk;

/// With so many digits of a fingerprint one device is meant, and no other by accident.
const DIGITS_MIN: usize = 8;
/// What every fingerprint begins with (KEY-6).
const PREFIX: &str = "SHA256:";

/// `chat-broker devices`: a broker that runs knows within a moment.
pub(super) fn of_broker(args: &HostDevicesArgs, dir: &Path) -> Result<Code, Failure> {
    let path = log_path(dir);
    if !path.exists() {
        let message = format!("no broker has stored anything in {}", dir.display());
        return Err(Failure::new(Code::Directory, message));
    }
    let mut desk = DeviceDesk::open(&path).map_err(|error| Failure::log(&path, &error))?;
    let found = desk.list(&args.name);
    let found = found.map_err(|error| Failure::log(&path, &error))?;
    let name = visible(args.name.as_str());
    let (account, rows) = found.ok_or_else(|| {
        let message = format!("nobody is called {name} here");
        Failure::new(Code::Usage, message)
    })?;
    let listed: Vec<DeviceEntry> = rows.into_iter().map(entry).collect();
    let Some(DevicesTask::Revoke { fingerprint }) = &args.task else {
        return print(&listed, None);
    };
    let device = pick(&listed, fingerprint)?.device;
    let revoked = desk.revoke(account, device, Clock::system().unix_ms());
    let revoked = revoked.map_err(|error| Failure::log(&path, &error))?;
    revoked.map_err(|refusal| Failure::new(Code::Refused, refusal.to_string()))?;
    let device = device.fingerprint();
    eprintln!("{device} speaks for {name} no more; what it said stays");
    Ok(Code::Done)
}

/// Who is here now only the broker itself knows.
fn entry(row: DeviceRow) -> DeviceEntry {
    DeviceEntry {
        device: row.device,
        is_linked: row.is_linked,
        is_here: false,
        first_seen_ms: row.first_seen_ms,
        last_seen_ms: row.last_seen_ms,
        revoked_at_ms: row.revoked_at_ms,
    }
}

/// The one device whose fingerprint begins so.
pub(super) fn pick<'a>(
    listed: &'a [DeviceEntry],
    fingerprint: &str,
) -> Result<&'a DeviceEntry, Failure> {
    let usage = |message: String| Failure::new(Code::Usage, message);
    let digits = fingerprint
        .strip_prefix(PREFIX)
        .unwrap_or(fingerprint)
        .to_lowercase();
    if digits.len() < DIGITS_MIN {
        return Err(usage(format!(
            "say at least {DIGITS_MIN} digits of the fingerprint"
        )));
    }
    let begins = |entry: &&DeviceEntry| {
        let of = entry.device.fingerprint();
        of.strip_prefix(PREFIX)
            .is_some_and(|of| of.starts_with(&digits))
    };
    let mut meant = listed.iter().filter(begins);
    match (meant.next(), meant.next()) {
        (Some(entry), None) => Ok(entry),
        (None, _) => Err(usage("none of the devices has this fingerprint".to_owned())),
        (Some(_), Some(_)) => Err(usage(
            "several devices have such a fingerprint: say more of it".to_owned(),
        )),
    }
}

/// A line for each.
pub(super) fn print(listed: &[DeviceEntry], own: Option<DeviceKey>) -> Result<Code, Failure> {
    let lines: String = listed.iter().map(|entry| in_words(entry, own)).collect();
    let mut out = io::stdout();
    match out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read it has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::file(Path::new("stdout"), &error))
        }
        _ => Ok(Code::Done),
    }
}

fn in_words(entry: &DeviceEntry, own: Option<DeviceKey>) -> String {
    let how = if entry.is_linked {
        "linked"
    } else {
        "by the account's own key"
    };
    let seen = match entry.revoked_at_ms {
        Some(revoked) => format!("revoked {}", at(revoked)),
        None if entry.is_here => "here now".to_owned(),
        None => format!("last seen {}", at(entry.last_seen_ms)),
    };
    let this = if Some(entry.device) == own {
        "; this one"
    } else {
        ""
    };
    format!(
        "{}: {how}, first seen {}, {seen}{this}\n",
        entry.device.fingerprint(),
        at(entry.first_seen_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(byte: u8) -> DeviceEntry {
        DeviceEntry {
            device: DeviceKey([byte; 32]),
            is_linked: byte > 1,
            is_here: false,
            first_seen_ms: 1_700_000_000_000,
            last_seen_ms: 1_700_000_060_000,
            revoked_at_ms: None,
        }
    }

    /// CLI-25.
    #[test]
    fn a_device_is_picked_by_the_beginning_of_its_fingerprint() {
        let listed = [entry(1), entry(2)];
        let whole = listed[1].device.fingerprint();
        for text in [&whole[..], &whole[7..], &whole[7..15], &whole[..15]] {
            assert_eq!(pick(&listed, text).unwrap().device, listed[1].device);
        }
        for text in ["", "SHA256:", &whole[7..14], "00000000", "é"] {
            assert_eq!(pick(&listed, text).unwrap_err().code, Code::Usage, "{text}");
        }
        let twice = [entry(2), entry(2)];
        assert_eq!(pick(&twice, &whole).unwrap_err().code, Code::Usage);
    }

    /// CLI-25.
    #[test]
    fn a_device_is_told_with_all_that_is_known_of_it() {
        let own = Some(entry(1).device);
        let told = in_words(&entry(1), own);
        assert!(
            told.ends_with(
                ": by the account's own key, first seen 2023-11-14T22:13:20Z, \
                 last seen 2023-11-14T22:14:20Z; this one\n"
            ),
            "{told}"
        );
        let revoked = DeviceEntry {
            revoked_at_ms: Some(1_700_000_000_000),
            ..entry(2)
        };
        let told = in_words(&revoked, own);
        assert!(told.contains(": linked, "), "{told}");
        assert!(told.ends_with("revoked 2023-11-14T22:13:20Z\n"), "{told}");
    }
}
