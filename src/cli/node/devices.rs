//! `chat-node devices`: which devices an account has (CLI-25).

use std::io::{self, Write as _};
use std::path::Path;

use super::errand::Whose;
use crate::chat::{DeviceEntry, visible};
use crate::cli::args::{DevicesArgs, DevicesTask, NodeArgs};
use crate::cli::exit::{Code, Failure};
use crate::cli::invite::at;
use crate::client::{Errand, ErrandEvent};
use crate::secure::DeviceKey;

/// With so many digits of a fingerprint one device is meant, and no other by accident.
const DIGITS_MIN: usize = 8;
/// What every fingerprint begins with (KEY-6).
const PREFIX: &str = "SHA256:";

/// Lists the devices, or revokes one.
pub(super) async fn run(args: NodeArgs, devices: DevicesArgs) -> Result<Code, Failure> {
    let whose = Whose::find(&args)?;
    match devices.task {
        None => {
            let listed = list(&whose).await?;
            print(&listed, whose.identity.device())
        }
        Some(DevicesTask::Revoke { fingerprint }) => revoke(&whose, &fingerprint).await,
    }
}

async fn list(whose: &Whose) -> Result<Vec<DeviceEntry>, Failure> {
    let mut going = whose.go(Errand::List).await?;
    let listed = match going.owed().await? {
        Some(ErrandEvent::Devices(devices)) => devices,
        _ => Vec::new(),
    };
    going.finish().await?;
    Ok(listed)
}

async fn revoke(whose: &Whose, fingerprint: &str) -> Result<Code, Failure> {
    whose.check_own()?;
    let listed = list(whose).await?;
    let entry = pick(&listed, fingerprint)?;
    let (name, device) = (visible(whose.name.as_str()), entry.device);
    if device == whose.identity.device() {
        let message = "this is the device that you are at: nothing was revoked";
        return Err(Failure::new(Code::Usage, message));
    }
    let mut going = whose.go(Errand::Revoke { device }).await?;
    while let Some(event) = going.owed().await? {
        if event == ErrandEvent::Revoked(device) {
            eprintln!(
                "{} speaks for {name} no more; what it said stays",
                device.fingerprint()
            );
        }
    }
    Ok(Code::Done)
}

/// The one device whose fingerprint begins so.
fn pick<'a>(listed: &'a [DeviceEntry], fingerprint: &str) -> Result<&'a DeviceEntry, Failure> {
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
        (None, _) => Err(usage(
            "no device of yours has this fingerprint: chat-node devices lists them".to_owned(),
        )),
        (Some(_), Some(_)) => Err(usage(
            "several devices of yours have such a fingerprint: say more of it".to_owned(),
        )),
    }
}

fn print(listed: &[DeviceEntry], own: DeviceKey) -> Result<Code, Failure> {
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

fn in_words(entry: &DeviceEntry, own: DeviceKey) -> String {
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
    let this = if entry.device == own {
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
        let own = entry(1).device;
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
