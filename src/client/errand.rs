//! Errands: what a client does in place of signing in (SPEC.md section 9.8).
//!
//! It says one thing, hears what comes of it, and ends. Its link is beside whatever other link the
//! device has, so a person goes on chatting meanwhile.

use super::up::RETRY_AFTER;
use super::{Client, ClientEvent, EndReason, State};
use crate::chat::{
    ControlFromNode, DeviceEntry, ErrandFromBroker, ErrandFromNode, Grant, LinkSecret, Name, Proof,
    Refusal,
};
use crate::secure::{AccountKey, CERTIFICATE_LEN, DeviceKey};
use crate::time::Timestamp;

/// What a client is to do in place of signing in.
#[derive(Clone, Debug)]
pub enum Errand {
    /// Offer to link a device, to whoever has this code, and do it. Its account's private key has to
    /// be here (DEV-3).
    Offer {
        /// The code's secret, to be used for nothing else.
        secret: LinkSecret,
        /// For how long, in milliseconds.
        lasts_ms: u64,
    },
    /// Ask to be linked, by the code that another device has shown (DEV-4). The identity is the
    /// device's, with an account made for this.
    Ask {
        /// The code's secret.
        secret: LinkSecret,
    },
    /// List the account's devices (DEV-7).
    List,
    /// Let a device speak for the account no more (DEV-8). Its private key has to be here.
    Revoke {
        /// Which one.
        device: DeviceKey,
    },
}

/// What came of an errand. Where the broker refuses it, the client ends with
/// [`EndReason::NotAdmitted`]; where it was done, with [`EndReason::Left`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrandEvent {
    /// The broker holds the offer: the code is good, once.
    Offered,
    /// This device is one of the account now, and was told so.
    Linked(DeviceKey),
    /// One's own device is one of this account now.
    Granted {
        /// The account.
        account: AccountKey,
        /// Its word for the device; it was looked at.
        certificate: [u8; CERTIFICATE_LEN],
        /// Its name.
        name: Name,
    },
    /// The account's devices.
    Devices(Vec<DeviceEntry>),
    /// It speaks for the account no more.
    Revoked(DeviceKey),
}

/// An errand, and how far it has come.
pub(super) struct OnErrand {
    errand: Errand,
    /// The broker holds the offer, and nobody owes anybody an answer.
    is_offered: bool,
    /// To which device a grant was sent.
    granted: Option<DeviceKey>,
}

impl OnErrand {
    /// Whether the broker owes an answer.
    pub(super) const fn is_expecting(&self) -> bool {
        !self.is_offered || self.granted.is_some()
    }
}

impl Client {
    /// Has the client do this in place of signing in. To be called before the first datagram, on one
    /// that knows the broker and has nothing in its journal.
    pub fn set_errand(&mut self, errand: Errand) {
        self.errand = Some(Box::new(OnErrand {
            errand,
            is_offered: false,
            granted: None,
        }));
    }

    /// Says what is wanted, on a new link or again (DEV-1).
    pub(super) fn begin_errand(&mut self, now: Timestamp) {
        let (Some(on), Some((broker, identity))) = (&mut self.errand, &self.known) else {
            return;
        };
        if on.granted.is_some() {
            // Whether it was handed on is not known; asking again would be to link another.
            let reason = "contact was lost while the device was being linked: \
                          the list of devices tells whether it is";
            let reason = EndReason::NotAdmitted {
                code: Refusal::LinkUnknown,
                reason: reason.to_owned(),
            };
            return self.end(reason, now);
        }
        let said = match &on.errand {
            Errand::Offer { secret, lasts_ms } => Some(ErrandFromNode::LinkOffer {
                mark: secret.mark(),
                lasts_ms: *lasts_ms,
            }),
            Errand::Ask { secret } => Some(ErrandFromNode::LinkAsk {
                mark: secret.mark(),
                proof: secret.prove_asking(broker, &identity.device()),
            }),
            Errand::List => Some(ErrandFromNode::ListDevices),
            Errand::Revoke { device } => {
                let signature = identity.revoke(broker, device);
                signature.map(|signature| ErrandFromNode::RevokeDevice {
                    device: *device,
                    signature,
                })
            }
        };
        on.is_offered = false;
        match said {
            Some(said) => self.send_control(&ControlFromNode::Errand(said), now),
            None => self.end(without_key(), now),
        }
    }

    pub(super) fn on_errand_answer(
        &mut self,
        answer: ErrandFromBroker,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        let Some(on) = &mut self.errand else {
            return Err("an answer to no errand");
        };
        match (&on.errand, answer) {
            (
                _,
                ErrandFromBroker::Refused {
                    code: Refusal::RetryLater,
                    ..
                },
            ) if on.granted.is_none() => {
                if let State::Up(up) = &mut self.state {
                    up.sign_in_again_at(now + RETRY_AFTER);
                }
            }
            (_, ErrandFromBroker::Refused { code, reason }) => {
                self.end(EndReason::NotAdmitted { code, reason }, now);
            }
            (Errand::Offer { .. }, ErrandFromBroker::LinkDone) => match on.granted {
                None => {
                    on.is_offered = true;
                    self.tell_errand(ErrandEvent::Offered);
                }
                Some(device) => self.end_errand(ErrandEvent::Linked(device), now),
            },
            (Errand::Offer { secret, .. }, ErrandFromBroker::LinkAsked { device, proof })
                if on.is_offered && on.granted.is_none() =>
            {
                let secret = secret.clone();
                self.grant(&secret, device, &proof, now);
            }
            (Errand::Ask { secret }, ErrandFromBroker::LinkGranted { account, grant }) => {
                let secret = secret.clone();
                self.on_granted(&secret, account, &grant, now)?;
            }
            (Errand::List, ErrandFromBroker::Devices(devices)) => {
                self.end_errand(ErrandEvent::Devices(devices), now);
            }
            (Errand::Revoke { device }, ErrandFromBroker::DeviceRevoked) => {
                let revoked = ErrandEvent::Revoked(*device);
                self.end_errand(revoked, now);
            }
            _ => return Err("an answer to another errand"),
        }
        Ok(())
    }

    /// DEV-5: whoever asks has the code, or is turned away.
    fn grant(&mut self, secret: &LinkSecret, device: DeviceKey, proof: &Proof, now: Timestamp) {
        let Some((broker, identity)) = &self.known else {
            return;
        };
        if !secret.is_asking(broker, &device, proof) {
            let reason = "somebody has asked to be linked who does not have the code";
            return self.end(forged(reason), now);
        }
        let Some(certificate) = identity.certify(&device) else {
            return self.end(without_key(), now);
        };
        let name = self.name.as_str().to_owned();
        let proof = secret.prove_granting(broker, &device, &identity.account(), &name);
        let grant = Grant {
            certificate,
            proof,
            name,
        };
        if let Some(on) = &mut self.errand {
            on.granted = Some(device);
        }
        let granted = ControlFromNode::Errand(ErrandFromNode::LinkGrant(grant));
        self.send_control(&granted, now);
    }

    /// DEV-5: the account is that of whoever made the code, and speaks of this device.
    fn on_granted(
        &mut self,
        secret: &LinkSecret,
        account: AccountKey,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        let Some((broker, identity)) = &self.known else {
            return Ok(());
        };
        let Grant {
            certificate,
            proof,
            name,
        } = grant;
        let device = identity.device();
        if !secret.is_granting(broker, &device, &account, name, proof)
            || !account.vouches_for(&device, certificate)
        {
            let reason = "somebody has answered who does not have the code";
            self.end(forged(reason), now);
            return Ok(());
        }
        let granted = ErrandEvent::Granted {
            account,
            certificate: *certificate,
            name: Name::recorded(name).map_err(|_| "a name that is none")?,
        };
        self.end_errand(granted, now);
        Ok(())
    }

    fn tell_errand(&mut self, event: ErrandEvent) {
        self.events.push_back(ClientEvent::Errand(event));
    }

    fn end_errand(&mut self, event: ErrandEvent, now: Timestamp) {
        self.tell_errand(event);
        self.end(EndReason::Left, now);
    }
}

/// The broker carries what the two devices say, and nobody else can have changed it.
fn forged(reason: &str) -> EndReason {
    let reason = format!("{reason}: the broker is not to be trusted");
    EndReason::Protocol { reason }
}

fn without_key() -> EndReason {
    let reason = "the account's private key is on the device that links others";
    EndReason::NotAdmitted {
        code: Refusal::NotAllowed,
        reason: reason.to_owned(),
    }
}
