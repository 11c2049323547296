//! What is said on the control channel, to and from bytes (SPEC.md section 9.1).

use bytes::Bytes;

use super::Refusal;
use super::errand::{ErrandFromBroker, ErrandFromNode};
use super::invite::InviteSecret;
use super::message::{check_listed, put_refusal, refusal};
use crate::wire::{DecodeError, Reader, put_sized, put_varint};

const SIGN_IN: u8 = 0x01;
const WELCOME: u8 = 0x02;
const SIGN_IN_REFUSED: u8 = 0x03;
const BYE: u8 = 0x04;
const BYE_OK: u8 = 0x05;
const LIST_ROOMS: u8 = 0x06;
const ROOMS: u8 = 0x07;
const SIGN_IN_INVITED: u8 = 0x08;

/// What a node says on the control channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlFromNode {
    /// "This is my name." First on every link (SGN-1).
    SignIn {
        /// As typed; the broker checks it.
        name: String,
        /// What lets it in, if it is not known yet (ADM-1).
        invite: Option<InviteSecret>,
    },
    /// "I leave the chat" (SGN-5).
    Bye,
    /// "Which rooms are there?" (SGN-6)
    ListRooms,
    /// Something in place of signing in (DEV-1).
    Errand(ErrandFromNode),
}

/// What a broker says on the control channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlFromBroker {
    /// Signed in.
    Welcome {
        /// How many accounts are present (PRS-4).
        people: u64,
    },
    /// Not signed in; another name may be tried (SGN-2).
    SignInRefused {
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
    /// Left (SGN-5).
    ByeOk,
    /// The rooms that are in use (SGN-6).
    Rooms {
        /// How many there are.
        total: u64,
        /// Those that are listed, with how many people are present.
        rooms: Vec<(u64, String)>,
    },
    /// What came of something that was asked in place of signing in (DEV-1).
    Errand(ErrandFromBroker),
}

impl ControlFromNode {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::SignIn { name, invite } => {
                match invite {
                    None => out.push(SIGN_IN),
                    Some(invite) => {
                        out.push(SIGN_IN_INVITED);
                        out.extend_from_slice(invite.as_bytes());
                    }
                }
                out.extend_from_slice(name.as_bytes());
            }
            Self::Bye => out.push(BYE),
            Self::ListRooms => out.push(LIST_ROOMS),
            Self::Errand(errand) => errand.encode(&mut out),
        }
        out.into()
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// The bytes are no such message.
    pub fn decode(message: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(message);
        let decoded = match r.u8()? {
            SIGN_IN => Self::SignIn {
                name: r.rest_text()?.to_owned(),
                invite: None,
            },
            SIGN_IN_INVITED => {
                let invite = InviteSecret::new(r.array()?);
                Self::SignIn {
                    name: r.rest_text()?.to_owned(),
                    invite: Some(invite),
                }
            }
            BYE => Self::Bye,
            LIST_ROOMS => Self::ListRooms,
            other => Self::Errand(ErrandFromNode::decode(other, &mut r)?),
        };
        r.finish()?;
        Ok(decoded)
    }
}

impl ControlFromBroker {
    /// The message's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Welcome { people } => {
                out.push(WELCOME);
                put_varint(&mut out, *people);
            }
            Self::SignInRefused { code, reason } => {
                out.push(SIGN_IN_REFUSED);
                put_refusal(&mut out, *code, reason);
            }
            Self::ByeOk => out.push(BYE_OK),
            Self::Rooms { total, rooms } => {
                out.push(ROOMS);
                put_varint(&mut out, *total);
                for (people, name) in rooms {
                    put_varint(&mut out, *people);
                    put_sized(&mut out, name.as_bytes());
                }
            }
            Self::Errand(answer) => answer.encode(&mut out),
        }
        out.into()
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// The bytes are no such message.
    pub fn decode(message: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(message);
        let decoded = match r.u8()? {
            WELCOME => Self::Welcome {
                people: r.varint()?,
            },
            SIGN_IN_REFUSED => {
                let (code, reason) = refusal(&mut r)?;
                Self::SignInRefused { code, reason }
            }
            BYE_OK => Self::ByeOk,
            ROOMS => {
                let total = r.varint()?;
                let mut rooms = Vec::new();
                while !r.is_empty() {
                    check_listed(rooms.len())?;
                    rooms.push((r.varint()?, r.text()?.to_owned()));
                }
                Self::Rooms { total, rooms }
            }
            other => Self::Errand(ErrandFromBroker::decode(other, &mut r)?),
        };
        r.finish()?;
        Ok(decoded)
    }
}
