//! What a node says that does not sign in: linking, listing and revoking devices (SPEC.md section
//! 9.8), to and from bytes.

use super::Refusal;
use super::linking::{LinkMark, PROOF_LEN, Proof};
use super::message::{put_refusal, refusal};
use super::name::NAME_BYTES_MAX;
use crate::secure::{AccountKey, CERTIFICATE_LEN, DeviceKey, SIGNATURE_LEN};
use crate::wire::{DecodeError, Reader, put_varint};

const LINK_OFFER: u8 = 0x30;
const LINK_ASK: u8 = 0x31;
const LINK_ASKED: u8 = 0x32;
const LINK_GRANT: u8 = 0x33;
const LINK_GRANTED: u8 = 0x34;
const LINK_DONE: u8 = 0x35;
const LIST_DEVICES: u8 = 0x36;
const DEVICES: u8 = 0x37;
const REVOKE_DEVICE: u8 = 0x38;
const DEVICE_REVOKED: u8 = 0x39;
const ERRAND_REFUSED: u8 = 0x3a;

/// The most devices of an account that a broker keeps (LIM-15).
pub const DEVICES_MAX: usize = 256;

const IS_LINKED: u8 = 1;
const IS_HERE: u8 = 2;

/// What a node says in place of signing in (DEV-1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrandFromNode {
    /// "Tell me who shows this" (DEV-3).
    LinkOffer {
        /// By what the code's secret is known.
        mark: LinkMark,
        /// For how long, in milliseconds.
        lasts_ms: u64,
    },
    /// "Let me be a device of the account that has offered this" (DEV-4).
    LinkAsk {
        /// By what the code's secret is known.
        mark: LinkMark,
        /// That this node has the code itself.
        proof: Proof,
    },
    /// "It is one, from now on" (DEV-5).
    LinkGrant(Grant),
    /// "Which devices has my account?" (DEV-7)
    ListDevices,
    /// "This one speaks for my account no more" (DEV-8).
    RevokeDevice {
        /// Which one.
        device: DeviceKey,
        /// The account's word for it.
        signature: [u8; SIGNATURE_LEN],
    },
}

/// What a broker says to that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrandFromBroker {
    /// A device asks by your offer, which is gone with that (DEV-4).
    LinkAsked {
        /// The device, which has shown that it has this key.
        device: DeviceKey,
        /// That it has the code itself.
        proof: Proof,
    },
    /// You are a device of this account (DEV-5).
    LinkGranted {
        /// The account.
        account: AccountKey,
        /// Its word for the device.
        grant: Grant,
    },
    /// The offer is held, or the grant was handed on.
    LinkDone,
    /// The account's devices (DEV-7).
    Devices(Vec<DeviceEntry>),
    /// It speaks for the account no more (DEV-8).
    DeviceRevoked,
    /// What was asked is not done.
    Refused {
        /// Why, for programs.
        code: Refusal,
        /// Why, in words.
        reason: String,
    },
}

/// What makes a device one of an account (DEV-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The account's word for the device (SEC-3).
    pub certificate: [u8; CERTIFICATE_LEN],
    /// That whoever gives it has the code.
    pub proof: Proof,
    /// The account's name.
    pub name: String,
}

/// A device of an account, as its broker knows it (DEV-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Its key.
    pub device: DeviceKey,
    /// Whether it was linked by a code, at this broker.
    pub is_linked: bool,
    /// Whether it is signed in now.
    pub is_here: bool,
    /// When the broker learned of it, in milliseconds of Unix time.
    pub first_seen_ms: u64,
    /// When it signed in last, or was linked if that is later.
    pub last_seen_ms: u64,
    /// When it was revoked, if it was.
    pub revoked_at_ms: Option<u64>,
}

impl Grant {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.certificate);
        out.extend_from_slice(&self.proof.0);
        out.extend_from_slice(self.name.as_bytes());
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let grant = Self {
            certificate: r.array()?,
            proof: Proof(r.array::<PROOF_LEN>()?),
            name: r.rest_text()?.to_owned(),
        };
        if grant.name.len() > NAME_BYTES_MAX {
            return Err(DecodeError::Invalid("length of a name"));
        }
        Ok(grant)
    }
}

impl ErrandFromNode {
    /// Appends the message's bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::LinkOffer { mark, lasts_ms } => {
                out.push(LINK_OFFER);
                out.extend_from_slice(&mark.0);
                put_varint(out, *lasts_ms);
            }
            Self::LinkAsk { mark, proof } => {
                out.push(LINK_ASK);
                out.extend_from_slice(&mark.0);
                out.extend_from_slice(&proof.0);
            }
            Self::LinkGrant(grant) => {
                out.push(LINK_GRANT);
                grant.encode(out);
            }
            Self::ListDevices => out.push(LIST_DEVICES),
            Self::RevokeDevice { device, signature } => {
                out.push(REVOKE_DEVICE);
                out.extend_from_slice(device.as_bytes());
                out.extend_from_slice(signature);
            }
        }
    }

    /// Reads what follows the type `kind`.
    pub(super) fn decode(kind: u8, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            LINK_OFFER => Self::LinkOffer {
                mark: LinkMark(r.array()?),
                lasts_ms: r.varint()?,
            },
            LINK_ASK => Self::LinkAsk {
                mark: LinkMark(r.array()?),
                proof: Proof(r.array()?),
            },
            LINK_GRANT => Self::LinkGrant(Grant::decode(r)?),
            LIST_DEVICES => Self::ListDevices,
            REVOKE_DEVICE => Self::RevokeDevice {
                device: DeviceKey(r.array()?),
                signature: r.array()?,
            },
            other => return Err(DecodeError::UnknownType(other)),
        })
    }
}

impl ErrandFromBroker {
    /// Appends the message's bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::LinkAsked { device, proof } => {
                out.push(LINK_ASKED);
                out.extend_from_slice(device.as_bytes());
                out.extend_from_slice(&proof.0);
            }
            Self::LinkGranted { account, grant } => {
                out.push(LINK_GRANTED);
                out.extend_from_slice(account.as_bytes());
                grant.encode(out);
            }
            Self::LinkDone => out.push(LINK_DONE),
            Self::Devices(devices) => {
                out.push(DEVICES);
                devices.iter().for_each(|entry| entry.encode(out));
            }
            Self::DeviceRevoked => out.push(DEVICE_REVOKED),
            Self::Refused { code, reason } => {
                out.push(ERRAND_REFUSED);
                put_refusal(out, *code, reason);
            }
        }
    }

    /// Reads what follows the type `kind`.
    pub(super) fn decode(kind: u8, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            LINK_ASKED => Self::LinkAsked {
                device: DeviceKey(r.array()?),
                proof: Proof(r.array()?),
            },
            LINK_GRANTED => Self::LinkGranted {
                account: AccountKey(r.array()?),
                grant: Grant::decode(r)?,
            },
            LINK_DONE => Self::LinkDone,
            DEVICES => {
                let mut devices = Vec::new();
                while !r.is_empty() {
                    if devices.len() >= DEVICES_MAX {
                        return Err(DecodeError::Invalid("length of a list"));
                    }
                    devices.push(DeviceEntry::decode(r)?);
                }
                Self::Devices(devices)
            }
            DEVICE_REVOKED => Self::DeviceRevoked,
            ERRAND_REFUSED => {
                let (code, reason) = refusal(r)?;
                Self::Refused { code, reason }
            }
            other => return Err(DecodeError::UnknownType(other)),
        })
    }
}

impl DeviceEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.device.as_bytes());
        let flag = |is_set, bit| if is_set { bit } else { 0 };
        out.push(flag(self.is_linked, IS_LINKED) | flag(self.is_here, IS_HERE));
        for time in [
            self.first_seen_ms,
            self.last_seen_ms,
            self.revoked_at_ms.unwrap_or(0),
        ] {
            out.extend_from_slice(&time.to_be_bytes());
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let device = DeviceKey(r.array()?);
        let flags = r.u8()?;
        if flags & !(IS_LINKED | IS_HERE) != 0 {
            return Err(DecodeError::Invalid("flags of a device"));
        }
        Ok(Self {
            device,
            is_linked: flags & IS_LINKED != 0,
            is_here: flags & IS_HERE != 0,
            first_seen_ms: r.u64()?,
            last_seen_ms: r.u64()?,
            revoked_at_ms: Some(r.u64()?).filter(|at| *at != 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::chat::{ControlFromBroker, ControlFromNode};

    fn grant() -> Grant {
        Grant {
            certificate: [5; CERTIFICATE_LEN],
            proof: Proof([6; PROOF_LEN]),
            name: "ada".into(),
        }
    }

    #[test]
    fn errands_survive_the_wire() {
        let (mark, proof) = (LinkMark([1; 32]), Proof([2; PROOF_LEN]));
        for errand in [
            ErrandFromNode::LinkOffer {
                mark,
                lasts_ms: 600_000,
            },
            ErrandFromNode::LinkAsk { mark, proof },
            ErrandFromNode::LinkGrant(grant()),
            ErrandFromNode::ListDevices,
            ErrandFromNode::RevokeDevice {
                device: DeviceKey([3; 32]),
                signature: [4; SIGNATURE_LEN],
            },
        ] {
            let message = ControlFromNode::Errand(errand);
            assert_eq!(ControlFromNode::decode(&message.encode()), Ok(message));
        }
        let entry = DeviceEntry {
            device: DeviceKey([3; 32]),
            is_linked: true,
            is_here: false,
            first_seen_ms: 7,
            last_seen_ms: 1 << 40,
            revoked_at_ms: None,
        };
        let revoked = DeviceEntry {
            is_linked: false,
            is_here: true,
            revoked_at_ms: Some(9),
            ..entry
        };
        for answer in [
            ErrandFromBroker::LinkAsked {
                device: DeviceKey([3; 32]),
                proof,
            },
            ErrandFromBroker::LinkGranted {
                account: AccountKey([7; 32]),
                grant: grant(),
            },
            ErrandFromBroker::LinkDone,
            ErrandFromBroker::Devices(vec![entry, revoked]),
            ErrandFromBroker::DeviceRevoked,
            ErrandFromBroker::Refused {
                code: Refusal::LinkUnknown,
                reason: "no".into(),
            },
        ] {
            let message = ControlFromBroker::Errand(answer);
            assert_eq!(ControlFromBroker::decode(&message.encode()), Ok(message));
        }
    }

    /// LIM-15, LIM-2, ENC-3.
    #[test]
    fn errands_beyond_their_limits_are_malformed() {
        let entry = DeviceEntry {
            device: DeviceKey([3; 32]),
            is_linked: true,
            is_here: true,
            first_seen_ms: 7,
            last_seen_ms: 8,
            revoked_at_ms: None,
        };
        let devices = |count| {
            let devices = ErrandFromBroker::Devices(vec![entry; count]);
            ControlFromBroker::decode(&ControlFromBroker::Errand(devices).encode())
        };
        assert!(devices(DEVICES_MAX).is_ok());
        assert_eq!(
            devices(DEVICES_MAX + 1),
            Err(DecodeError::Invalid("length of a list"))
        );
        let mut long = grant();
        long.name = "x".repeat(NAME_BYTES_MAX + 1);
        let long = ControlFromNode::Errand(ErrandFromNode::LinkGrant(long)).encode();
        assert_eq!(
            ControlFromNode::decode(&long),
            Err(DecodeError::Invalid("length of a name"))
        );
        assert_eq!(
            ControlFromNode::decode(&Bytes::from_static(&[LIST_DEVICES, 0])),
            Err(DecodeError::TrailingBytes)
        );
    }

    proptest! {
        /// ENC-3, ENC-4, ENC-5: what decodes is what was encoded, and nothing panics.
        #[test]
        fn whatever_decodes_of_errands_encodes_to_the_same_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            zeros in 0_usize..4,
            kind in 0x30_u8..0x3c,
        ) {
            let mut message = vec![kind];
            message.extend(bytes);
            // Flags and times of devices are mostly zero bits.
            message.extend([0; 57].repeat(zeros));
            let message = Bytes::from(message);
            if let Ok(decoded) = ControlFromNode::decode(&message) {
                prop_assert_eq!(decoded.encode(), &message);
            }
            if let Ok(decoded) = ControlFromBroker::decode(&message) {
                prop_assert_eq!(decoded.encode(), &message);
            }
        }
    }
}
