//! The broker's side of a handshake: [`respond`], and what waits for a FINISH.

use bytes::Bytes;
use core::fmt;
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::{
    BUILDER_IS_COMPLETE, BrokerPayload, HandshakeError, Pattern, Role, encode, noise_builder, read,
    split, write,
};
use crate::rng::Seed;
use crate::secure::keys::{
    AccountKey, BrokerIdentity, CERTIFICATE_LEN, DeviceKey, KEY_LEN, LinkSecrets, PublicKey,
};
use crate::secure::mac1;
use crate::wire::{Accept, Finish, Handshake, Hello, MAC1_LEN, VERSION};

/// A broker's side of a completed handshake.
#[derive(Clone, Debug)]
pub struct NodeEstablished {
    /// The secrets of the link.
    pub secrets: LinkSecrets,
    /// The account that the node speaks for.
    pub account: AccountKey,
    /// The device that the node is, certified by the account (SEC-3).
    pub device: DeviceKey,
}

/// What a broker does about a HELLO.
#[derive(Debug)]
pub enum Response {
    /// The handshake is complete once the node has this ACCEPT.
    Ready {
        /// The ACCEPT datagram.
        accept: Bytes,
        /// Who the node is.
        established: NodeEstablished,
    },
    /// A first contact: the node finishes after this ACCEPT.
    AwaitFinish {
        /// The ACCEPT datagram.
        accept: Bytes,
        /// Takes the FINISH.
        pending: Box<PendingFinish>,
    },
}

/// A HELLO that is worth an answer, as far as can be told without any Diffie-Hellman (SEC-4).
#[derive(Clone, Copy, Debug)]
pub struct Screened<'a> {
    hello: &'a Hello,
    pattern: Pattern,
}

/// Looks at `hello`, which is what `datagram` holds: whether its pattern and suite are spoken here,
/// and its mac1 is right (SEC-1, SEC-4).
pub fn screen<'a>(
    hello: &'a Hello,
    datagram: &[u8],
    broker: &PublicKey,
) -> Result<Screened<'a>, HandshakeError> {
    let pattern = Pattern::of(hello)?;
    let is_mac1_right = match pattern {
        Pattern::Xx => hello.mac1 == [0; MAC1_LEN],
        Pattern::Ik => mac1::verify(broker, datagram, &hello.mac1),
    };
    match is_mac1_right {
        true => Ok(Screened { hello, pattern }),
        false => Err(HandshakeError::Mac1),
    }
}

/// Whether a HELLO, of whatever version, comes from somebody who knows the broker's key (HSD-7).
#[must_use]
pub fn knows_key(broker: &PublicKey, datagram: &[u8]) -> bool {
    Hello::mac1_of(datagram).is_some_and(|received| mac1::verify(broker, datagram, &received))
}

/// Screens `hello`, and answers it: [`screen`], then [`Screened::respond`].
pub fn respond(
    hello: &Hello,
    datagram: &[u8],
    broker: &BrokerIdentity,
    payload: BrokerPayload,
    seed: Seed,
) -> Result<Response, HandshakeError> {
    screen(hello, datagram, &broker.public())?.respond(broker, payload, seed)
}

impl Screened<'_> {
    /// Whether the node does not know the broker yet (XX), so that mac1 says nothing of it.
    #[must_use]
    pub fn is_first_contact(&self) -> bool {
        self.pattern == Pattern::Xx
    }

    /// Answers it with what `payload` says of the broker. This is where the Diffie-Hellman is done.
    ///
    /// `seed` must never be used twice. Nothing is kept but what is returned (SEC-7); a repeated
    /// HELLO is to be answered with the same ACCEPT by the caller, who remembers it (SEC-6).
    pub fn respond(
        self,
        broker: &BrokerIdentity,
        payload: BrokerPayload,
        seed: Seed,
    ) -> Result<Response, HandshakeError> {
        let answer = Answer {
            broker: broker.clone(),
            seed: Zeroizing::new(seed),
            prologue: self.hello.prologue(),
            hello: Bytes::copy_from_slice(&self.hello.noise),
            payload,
        };
        let (noise, node_payload, message) = answer.run(self.pattern)?;
        let accept = encode(&Handshake::Accept(Accept {
            version: VERSION,
            cid: self.hello.cid,
            noise: message,
        }));
        match self.pattern {
            Pattern::Ik => Ok(Response::Ready {
                accept,
                established: establish(noise, &node_payload)?,
            }),
            Pattern::Xx if node_payload.is_empty() => Ok(Response::AwaitFinish {
                accept,
                pending: Box::new(PendingFinish { answer }),
            }),
            Pattern::Xx => Err(HandshakeError::Payload),
        }
    }
}

/// A broker's side of a first contact, until the node's FINISH (XX).
#[derive(Debug)]
pub struct PendingFinish {
    answer: Answer,
}

impl PendingFinish {
    /// Takes the node's FINISH. One that is refused has changed nothing, so the next may be right
    /// (SEC-11); a repeated one gives the same again.
    pub fn handle_finish(&self, finish: &Finish) -> Result<NodeEstablished, HandshakeError> {
        if finish.cid != self.answer.payload.cid {
            return Err(HandshakeError::WrongCid);
        }
        let (mut noise, ..) = self.answer.run(Pattern::Xx)?;
        let node_payload = read(&mut noise, &finish.noise)?;
        establish(noise, &node_payload)
    }
}

/// Everything that determines a broker's side of a handshake.
struct Answer {
    broker: BrokerIdentity,
    seed: Zeroizing<Seed>,
    prologue: Vec<u8>,
    /// The Noise message of the HELLO.
    hello: Bytes,
    payload: BrokerPayload,
}

impl Answer {
    /// Reads the HELLO and writes the ACCEPT: the Noise state after that, the node's payload, and
    /// the message to the node. The same each time.
    fn run(&self, pattern: Pattern) -> Result<(HandshakeState, Vec<u8>, Bytes), HandshakeError> {
        let mut noise = noise_builder(pattern, &self.seed)
            .prologue(&self.prologue)
            .and_then(|builder| builder.local_private_key(self.broker.secret()))
            .and_then(Builder::build_responder)
            .expect(BUILDER_IS_COMPLETE);
        let node_payload = read(&mut noise, &self.hello)?;
        let message = write(&mut noise, &self.payload.encode());
        Ok((noise, node_payload, message))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

/// Completes the broker's side, if the account vouches for the device (SEC-3).
fn establish(noise: HandshakeState, payload: &[u8]) -> Result<NodeEstablished, HandshakeError> {
    let (account, certificate) = payload
        .split_first_chunk::<KEY_LEN>()
        .ok_or(HandshakeError::Payload)?;
    let account = AccountKey(*account);
    let certificate: &[u8; CERTIFICATE_LEN] = certificate
        .try_into()
        .map_err(|_| HandshakeError::Payload)?;
    let device = noise.get_remote_static().and_then(<[u8]>::first_chunk);
    let device = DeviceKey(*device.ok_or(HandshakeError::Noise)?);
    if !account.vouches_for(&device, certificate) && !crate::bug!(NoCertificateCheck) {
        return Err(HandshakeError::Certificate);
    }
    Ok(NodeEstablished {
        secrets: split(noise, Role::Broker),
        account,
        device,
    })
}
