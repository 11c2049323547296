//! Where a broker is: `HOST:PORT`, or a `chat://` URL.

use core::fmt;
use core::str::FromStr;
use std::net::Ipv6Addr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::chat::{InviteSecret, LinkSecret, ParseInviteError, ParseLinkError, RoomName};
use crate::secure::PublicKey;

/// The port of a broker, unless another is named.
pub(super) const PORT: u16 = 20001;

/// What a room's name becomes in a URL: letters, digits and these.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    /// In lower case; an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// A broker, and what to do there: `chat://host:port/room#k=BROKERKEY&i=INVITE`, or `&l=` and the
/// secret of a code by which a device is linked (DEV-3). CLI-29.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChatUrl {
    pub(super) broker: HostPort,
    pub(super) room: Option<RoomName>,
    /// The broker's key, so that even the first contact is certain.
    pub(super) key: Option<PublicKey>,
    /// What lets in who is not known there yet; only together with a key (ADM-2).
    pub(super) invite: Option<InviteSecret>,
    /// What links a device to an account; only together with a key (DEV-3).
    pub(super) link: Option<LinkSecret>,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error("there is no host in it")]
    NoHost,
    #[error("a port is a number from 1 to 65535")]
    Port,
    #[error("an IPv6 address with a port needs brackets: [::1]:20001")]
    Brackets,
    #[error("an address of a broker looks like chat://host:port/room")]
    NoChatUrl,
    #[error("the room in it: {0}")]
    Room(String),
    #[error("the key in it (k=): {0}")]
    Key(#[from] crate::secure::ParseKeyError),
    #[error("the invite in it (i=): {0}")]
    Invite(#[from] ParseInviteError),
    #[error("the code in it (l=): {0}")]
    Link(#[from] ParseLinkError),
    #[error("it holds an invite (i=), but not the key of the broker that made it (k=)")]
    InviteWithoutKey,
    #[error("it holds a code (l=), but not the key of the broker that it is for (k=)")]
    LinkWithoutKey,
    #[error("{0:?} in it means nothing here")]
    Parameter(String),
}

impl Default for HostPort {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: PORT,
        }
    }
}

/// `host:port`, as it stands in the file of known hosts.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or(AddressError::Brackets)?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| AddressError::Brackets)?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(AddressError::Port),
            }
        } else if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(AddressError::Brackets),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let is_strange = |c: char| c.is_whitespace() || c.is_control() || c == '/';
        if host.is_empty() || host.contains(is_strange) {
            return Err(AddressError::NoHost);
        }
        let port = port.map_or(Ok(PORT), |port| {
            port.parse().map_err(|_| AddressError::Port)
        })?;
        if port == 0 {
            return Err(AddressError::Port);
        }
        Ok(Self {
            host: host.to_lowercase(),
            port,
        })
    }
}

impl FromStr for ChatUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text
            .strip_prefix("chat://")
            .ok_or(AddressError::NoChatUrl)?;
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (host, room) = rest.split_once('/').unwrap_or((rest, ""));
        let room = percent_decode_str(room)
            .decode_utf8()
            .map_err(|error| AddressError::Room(error.to_string()))?;
        let room = (!room.is_empty())
            .then(|| RoomName::new(&room).map_err(|error| AddressError::Room(error.to_string())))
            .transpose()?;
        let (mut key, mut invite, mut link) = (None, None, None);
        for parameter in fragment.split('&').filter(|p| !p.is_empty()) {
            match parameter.split_once('=') {
                Some(("k", value)) => key = Some(value.parse()?),
                Some(("i", value)) => invite = Some(value.parse()?),
                Some(("l", value)) => link = Some(value.parse()?),
                _ => return Err(AddressError::Parameter(parameter.to_owned())),
            }
        }
        if invite.is_some() && key.is_none() {
            return Err(AddressError::InviteWithoutKey);
        }
        if link.is_some() && key.is_none() {
            return Err(AddressError::LinkWithoutKey);
        }
        Ok(Self {
            broker: host.parse()?,
            room,
            key,
            invite,
            link,
        })
    }
}

/// The whole URL, the invite's secret included: for whoever made it.
impl fmt::Display for ChatUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chat://{}", self.broker)?;
        if let Some(room) = &self.room {
            write!(f, "/{}", utf8_percent_encode(room.as_str(), ESCAPED))?;
        }
        if let Some(key) = &self.key {
            write!(f, "#k={key}")?;
        }
        if let Some(invite) = &self.invite {
            write!(f, "&i={}", invite.reveal())?;
        }
        if let Some(link) = &self.link {
            write!(f, "&l={}", link.reveal())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_read_back_from_their_text() {
        for (text, canonical) in [
            ("127.0.0.1:20001", "127.0.0.1:20001"),
            ("Chat.Example:7", "chat.example:7"),
            ("chat.example", "chat.example:20001"),
            ("[::1]:20002", "[::1]:20002"),
            ("::1", "[::1]:20001"),
            ("[2001:DB8::1]", "[2001:db8::1]:20001"),
        ] {
            let parsed = text.parse::<HostPort>().map(|host| host.to_string());
            assert_eq!(parsed.as_deref(), Ok(canonical));
            assert_eq!(
                canonical.parse::<HostPort>(),
                text.parse::<HostPort>(),
                "{text}"
            );
        }
        for (text, why) in [
            ("", AddressError::NoHost),
            (":20001", AddressError::NoHost),
            ("a b:1", AddressError::NoHost),
            ("host:0", AddressError::Port),
            ("host:65536", AddressError::Port),
            ("host:x", AddressError::Port),
            ("2001:db8::1::20001", AddressError::Brackets),
            ("[host]:1", AddressError::Brackets),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(why), "{text}");
        }
    }

    /// CLI-29.
    #[test]
    fn a_url_names_broker_room_and_key() {
        let key = "ab".repeat(32);
        let url: ChatUrl = format!("chat://chat.example:7/caf%C3%A9 noir#k={key}")
            .parse()
            .unwrap();
        assert_eq!(url.broker.to_string(), "chat.example:7");
        assert_eq!(url.room.unwrap().as_str(), "café noir");
        assert_eq!(url.key, Some(PublicKey([0xab; 32])));

        let text = format!(
            "chat://[::1]:7/caf%C3%A9%20noir#k={key}&i={}",
            "0d".repeat(16)
        );
        let url: ChatUrl = text.parse().unwrap();
        assert_eq!(url.invite, Some(InviteSecret::new([0x0d; 16])));
        assert_eq!(url.to_string(), text);

        let text = format!("chat://[::1]:7#k={key}&l={}", "0e".repeat(16));
        let url: ChatUrl = text.parse().unwrap();
        assert_eq!(url.link, Some(LinkSecret::new([0x0e; 16])));
        assert_eq!(url.to_string(), text);

        let url: ChatUrl = "chat://[::1]".parse().unwrap();
        assert_eq!(url.broker.to_string(), "[::1]:20001");
        assert_eq!((url.room, url.key), (None, None));
    }

    /// CLI-29.
    #[test]
    fn a_url_that_means_nothing_is_refused_with_a_reason() {
        let parse = |text: &str| text.parse::<ChatUrl>().map_err(|error| error.to_string());
        let keyless = format!("chat://host/room#i={}", "0".repeat(32));
        let keyless = parse(&keyless).unwrap_err();
        assert!(keyless.contains("not the key"), "{keyless}");
        let keyless = format!("chat://host#l={}", "0".repeat(32));
        assert_eq!(
            keyless.parse::<ChatUrl>(),
            Err(AddressError::LinkWithoutKey)
        );
        for bad in [
            "chat://host#i=abc",
            "chat://host#l=abc",
            "http://host",
            "host:20001",
            "chat://host#k=12",
            "chat://host#z=1",
            "chat://host/a%3Ab",
            "chat://host/%ff",
        ] {
            parse(bad).unwrap_err();
        }
    }
}
