//! `chat-broker invite`: letting people in (CLI-19).

use core::num::NonZeroU64;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::address::{ChatUrl, HostPort};
use super::args::{InviteArgs, InviteTask, Limit};
use super::broker::{identity, log_path};
use super::exit::{Code, Failure};
use crate::chat::{InviteSecret, InviteTerms, LogId, RoomName, visible};
use crate::driver::{Clock, system_seed};
use crate::profile::files::write_private;
use crate::rng::SeededRng;
use crate::store::log::{InviteDesk, InviteSummary};

/// Where a broker notes at which addresses it listens, one a line.
const LISTENING: &str = "listening";
/// Addresses that stand for "elsewhere" (RFC 5737, RFC 3849); nothing is sent there.
const ELSEWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        9,
    ),
];

/// Does what `args` say with the invites of the broker whose data directory `dir` is. A broker that
/// runs looks at them whenever somebody comes.
pub(super) fn run(args: &InviteArgs, dir: &Path) -> Result<Code, Failure> {
    let seed = system_seed().map_err(|error| {
        let message = format!("the system has no randomness: {error}");
        Failure::new(Code::Unavailable, message)
    })?;
    let mut rng = SeededRng::new(seed);
    let path = log_path(dir);
    let opened = InviteDesk::open(&path, LogId(rng.bytes()));
    let mut desk = opened.map_err(|error| Failure::log(&path, &error))?;
    match &args.task {
        None => make(args, dir, &mut desk, &mut rng),
        Some(InviteTask::List) => {
            let invites = desk.list().map_err(|error| Failure::log(&path, &error))?;
            list(&invites, Clock::system().unix_ms())
        }
        Some(InviteTask::Revoke { id }) => {
            let revoked = desk.revoke(*id);
            if revoked.map_err(|error| Failure::log(&path, &error))? {
                eprintln!("invite {id} lets nobody in any more; who has come in by it stays");
                Ok(Code::Done)
            } else {
                let message = format!("there is no invite {id} that could be revoked");
                Err(Failure::new(Code::Usage, message))
            }
        }
    }
}

fn make(
    args: &InviteArgs,
    dir: &Path,
    desk: &mut InviteDesk,
    rng: &mut SeededRng,
) -> Result<Code, Failure> {
    let broker = match &args.at {
        Some(at) => at.clone(),
        None => find_address(dir)?,
    };
    let now_ms = Clock::system().unix_ms();
    let secret = InviteSecret::new(rng.bytes());
    let terms = InviteTerms {
        uses_max: args.uses.limit(),
        expires_at_ms: args.expires.limit().map(|after: Duration| {
            let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            now_ms.saturating_add(after)
        }),
        is_revoked: false,
    };
    let room = args.room.clone().unwrap_or_default();
    let key = identity(dir)?.public();
    let made = desk.make(&secret.mark(), &terms, &room, now_ms);
    let made = made.map_err(|error| Failure::log(&log_path(dir), &error))?;
    let Some(invite) = made else {
        let message = "there are too many invites that last: revoke some";
        return Err(Failure::new(Code::Refused, message));
    };
    let url = ChatUrl {
        broker,
        room: (room != RoomName::default()).then_some(room),
        key: Some(key),
        invite: Some(secret),
        link: None,
    };
    show(&url.to_string()).map_err(|error| Failure::file(Path::new("stdout"), &error))?;
    let terms = in_words(&terms);
    eprintln!(
        "invite {invite}, for {terms}: who has the URL can come in by\n  chat-node '{url}'\n\
         chat-broker invite revoke {invite}  calls it back"
    );
    Ok(Code::Done)
}

/// The URL on a line of its own, and as a picture where somebody looks.
pub(super) fn show(url: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{url}")?;
    // One that is too long for a picture is still a URL.
    if io::stdout().is_terminal()
        && let Ok(code) = QrCode::new(url)
    {
        // Light on dark, as most terminals are: the quiet zone is part of the picture.
        let picture = code
            .render::<Dense1x2>()
            .dark_color(Dense1x2::Light)
            .light_color(Dense1x2::Dark)
            .build();
        writeln!(out, "{picture}")?;
    }
    out.flush()
}

fn list(invites: &[InviteSummary], now_ms: u64) -> Result<Code, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = invites.iter().try_for_each(|invite| {
        let uses = invite.used_by.len() as u64;
        let state = match invite.terms.admit(uses, now_ms) {
            Ok(()) => String::new(),
            Err(why) => format!(" ({why})"),
        };
        let used_by = match invite.used_by.as_slice() {
            [] => "nobody has come in by it".to_owned(),
            names => format!("came in by it: {}", visible(&names.join(", "))),
        };
        writeln!(
            out,
            "{}: {}, to {}, made {}{state}; {used_by}",
            invite.invite,
            in_words(&invite.terms),
            visible(&invite.room),
            at(invite.made_at_ms),
        )
    });
    match written.and_then(|()| out.flush()) {
        // Whoever read it has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::file(Path::new("stdout"), &error))
        }
        _ => Ok(Code::Done),
    }
}

fn in_words(terms: &InviteTerms) -> String {
    let uses = match terms.uses_max.map(NonZeroU64::get) {
        None => "any number of people".to_owned(),
        Some(1) => "1 person".to_owned(),
        Some(many) => format!("{many} people"),
    };
    match terms.expires_at_ms {
        None => uses,
        Some(ms) => format!("{uses}, until {}", at(ms)),
    }
}

pub(super) fn at(unix_ms: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)) {
        Some(at) => humantime::format_rfc3339_seconds(at).to_string(),
        None => "the end of time".to_owned(),
    }
}

// ---- where the broker is

/// Notes at which addresses the broker listens, for the URLs of its invites.
pub(super) fn note_listening(dir: &Path, addresses: &[String]) -> Result<(), Failure> {
    let text: String = addresses.iter().map(|at| format!("{at}\n")).collect();
    Ok(write_private(&dir.join(LISTENING), text.as_bytes())?)
}

/// The best address that is known: others reach a loopback one not at all, and "all addresses" are
/// no address.
fn find_address(dir: &Path) -> Result<HostPort, Failure> {
    let path = dir.join(LISTENING);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::file(&path, &error)),
    };
    let listening = text.lines().filter_map(|line| line.parse().ok());
    let mut addresses: Vec<SocketAddr> = listening.filter_map(reachable).collect();
    addresses.sort_by_key(|address| address.ip().is_loopback());
    let Some(best) = addresses.first() else {
        let host = HostPort::default();
        eprintln!(
            "no broker has listened here yet: the URL says {host}; --at HOST:PORT says where others \
             reach it"
        );
        return Ok(host);
    };
    if best.ip().is_loopback() {
        eprintln!(
            "the broker listens on {best}, which only this machine reaches; --at HOST:PORT says \
             where others do"
        );
    }
    Ok(HostPort {
        host: best.ip().to_string(),
        port: best.port(),
    })
}

/// Where a broker that listens there can be reached.
fn reachable(listening: SocketAddr) -> Option<SocketAddr> {
    if !listening.ip().is_unspecified() {
        return Some(listening);
    }
    let elsewhere = ELSEWHERE
        .into_iter()
        .find(|at| at.is_ipv4() == listening.is_ipv4())?;
    let socket = UdpSocket::bind(SocketAddr::new(listening.ip(), 0)).ok()?;
    socket.connect(elsewhere).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    eprintln!(
        "the broker listens on all addresses; this machine's is {ip}, as far as it knows: \
         --at HOST:PORT says where others reach it"
    );
    Some(SocketAddr::new(ip, listening.port()))
}

impl<T: Copy> Limit<T> {
    /// The limit, if there is one.
    const fn limit(self) -> Option<T> {
        match self {
            Self::At(limit) => Some(limit),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLI-19.
    #[test]
    fn an_address_that_others_reach_is_preferred() {
        let dir = tempfile::tempdir().unwrap();
        let found = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            note_listening(dir.path(), &lines).unwrap();
            find_address(dir.path()).unwrap().to_string()
        };
        assert_eq!(find_address(dir.path()).unwrap(), HostPort::default());
        assert_eq!(found(&["127.0.0.1:7", "192.0.2.9:8"]), "192.0.2.9:8");
        assert_eq!(found(&["[::1]:7"]), "[::1]:7");
    }

    /// CLI-19.
    #[test]
    fn the_picture_of_a_url_is_the_url() {
        let url = format!(
            "chat://chat.example:20001/{}#k={}&i={}",
            "r".repeat(40),
            "ab".repeat(32),
            "cd".repeat(16)
        );
        let code = QrCode::new(url).unwrap();
        assert!(code.width() <= 61, "{} modules", code.width());
    }
}
