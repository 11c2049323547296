//! The handshake class of datagrams: SPEC.md section 5.1.

use bytes::Bytes;

use super::{DATAGRAM_BASE, DecodeError, HELLO_MIN, Reader, VERSION};

/// The protocol's id: part of every CRC and of the Noise prologue, but never sent (HSD-1, SEC-2).
pub const PROTOCOL_ID: &[u8; 16] = b"tertulia-proto-1";

/// The most bytes of a connection id toward a node (PKT-1).
pub const NODE_CID_MAX: usize = 4;

/// The bytes of a connection id toward a broker (PKT-1).
pub const BROKER_CID_LEN: usize = 8;

/// The most versions, or suites, that one list offers (HSD-2).
pub const OFFERS_MAX: usize = 8;

/// The most bytes of a cookie (HSD-2).
pub const COOKIE_MAX: usize = 32;

/// The bytes of mac1 (HSD-2).
pub const MAC1_LEN: usize = 16;

/// The bytes by which a RETRY says which HELLO it answers (HSD-6).
pub const MARK_LEN: usize = MAC1_LEN;

/// The bytes of the CRC that ends a handshake datagram (HSD-1).
const CRC_LEN: usize = 4;

const HELLO: u8 = 1;
const ACCEPT: u8 = 2;
const FINISH: u8 = 3;
const RETRY: u8 = 4;
const VERSION_REPLY: u8 = 5;

/// A datagram of the handshake class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// A node's first message.
    Hello(Hello),
    /// A broker's answer.
    Accept(Accept),
    /// A node's second message on first contact.
    Finish(Finish),
    /// A broker's demand for a cookie.
    Retry(Retry),
    /// A broker's answer to a version that it does not speak.
    Version(VersionReply),
}

impl Handshake {
    /// Reads a whole datagram; the CRC comes before everything else (HSD-1).
    ///
    /// A HELLO of another version is [`DecodeError::UnknownVersion`]: see [`UnknownHello`].
    pub fn decode(datagram: &Bytes) -> Result<Self, DecodeError> {
        let body = checked_body(datagram)?;
        if datagram.len() > DATAGRAM_BASE {
            return Err(DecodeError::Invalid("datagram length"));
        }
        let mut reader = Reader::new(body);
        let (kind, version) = (reader.u8()?, reader.u8()?);
        // A broker that speaks only other versions says so in a VERSION; nothing else can be read
        // in a version that is not spoken.
        if version != VERSION && matches!(kind, HELLO | ACCEPT | FINISH | RETRY) {
            return Err(DecodeError::UnknownVersion(version));
        }
        match kind {
            HELLO => Hello::decode(datagram, version, reader).map(Self::Hello),
            ACCEPT => Accept::decode(datagram, version, reader).map(Self::Accept),
            FINISH => Finish::decode(datagram, version, reader).map(Self::Finish),
            RETRY => Retry::decode(datagram, version, reader).map(Self::Retry),
            VERSION_REPLY => VersionReply::decode(version, reader).map(Self::Version),
            unknown => Err(DecodeError::UnknownType(unknown)),
        }
    }

    /// Appends the whole datagram, CRC included.
    ///
    /// # Panics
    ///
    /// If a field breaks its bounds, as the `encode` of each kind says: a wrong local call.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => hello.encode(out),
            Self::Accept(accept) => accept.encode(out),
            Self::Finish(finish) => finish.encode(out),
            Self::Retry(retry) => retry.encode(out),
            Self::Version(reply) => reply.encode(out),
        }
    }
}

/// A node's first message (HSD-2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of this datagram; one of `versions`.
    pub version: u8,
    /// The Noise pattern (SEC-1): 0 for XX, 1 for IK, others reserved.
    pub pattern: u8,
    /// The suite in use (SEC-1); one of `suites`.
    pub suite: u8,
    /// The versions that the node speaks: 1 to [`OFFERS_MAX`].
    pub versions: Vec<u8>,
    /// The suites that the node speaks: 1 to [`OFFERS_MAX`].
    pub suites: Vec<u8>,
    /// The connection id by which the node wants to be addressed.
    pub cid: NodeCid,
    /// What a RETRY asked to have sent back: at most [`COOKIE_MAX`] bytes, else empty.
    pub cookie: Bytes,
    /// The first Noise message.
    pub noise: Bytes,
    /// How many zero bytes lie between the fields and mac1; see [`Hello::pad`].
    pub padding: usize,
    /// Proof that the node knows the broker's key (SEC-4); zero in an XX HELLO.
    pub mac1: [u8; MAC1_LEN],
}

impl Hello {
    /// Sets the padding to what lifts the datagram to [`HELLO_MIN`] bytes (HSD-3), and no more.
    pub fn pad(&mut self) {
        self.padding = 0;
        let mut fields = Vec::new();
        self.put_fields(&mut fields);
        self.padding = HELLO_MIN.saturating_sub(2 + fields.len() + CRC_LEN);
    }

    /// The Noise prologue: the protocol id, then the fields from `version` up to and including
    /// `cid` (SEC-2).
    #[must_use]
    pub fn prologue(&self) -> Vec<u8> {
        let mut out = PROTOCOL_ID.to_vec();
        out.push(self.version);
        self.put_offer(&mut out);
        out
    }

    /// The part of an encoded HELLO that mac1 covers (SEC-4). Empty if `datagram` is too short to
    /// be one.
    #[must_use]
    pub fn before_mac1(datagram: &[u8]) -> &[u8] {
        &datagram[..datagram.len().saturating_sub(MAC1_LEN + CRC_LEN)]
    }

    /// What an encoded HELLO, of whatever version, has as its mac1 (HSD-7). `None` if `datagram` is
    /// too short to be one.
    #[must_use]
    pub fn mac1_of(datagram: &[u8]) -> Option<[u8; MAC1_LEN]> {
        let (rest, _) = datagram.split_last_chunk::<CRC_LEN>()?;
        rest.last_chunk().copied()
    }

    /// What tells this HELLO from any other to who has not seen it: mac1, or in a first contact,
    /// which has none, the beginning of its Noise message, which is random (HSD-6).
    #[must_use]
    pub fn mark(&self) -> [u8; MARK_LEN] {
        if self.mac1 != [0; MAC1_LEN] {
            return self.mac1;
        }
        let mut mark = [0; MARK_LEN];
        let len = self.noise.len().min(MARK_LEN);
        mark[..len].copy_from_slice(&self.noise[..len]);
        mark
    }

    /// Appends the whole datagram, CRC included.
    ///
    /// # Panics
    ///
    /// If a list or the cookie breaks its bounds, `version` or `suite` is not on its list, or the
    /// whole is shorter than [`HELLO_MIN`] or longer than [`DATAGRAM_BASE`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.versions.contains(&self.version), "version not offered");
        assert!(self.suites.contains(&self.suite), "suite not offered");
        let start = out.len();
        put_datagram(out, HELLO, self.version, |out| self.put_fields(out));
        let len = out.len() - start;
        assert!(len >= HELLO_MIN, "a HELLO of {len} bytes");
    }

    /// Everything between the version and the CRC.
    fn put_fields(&self, out: &mut Vec<u8>) {
        self.put_offer(out);
        put_cookie(out, &self.cookie);
        put_noise(out, &self.noise);
        // Early data has its place, and is empty in this version (HSD-2).
        out.extend_from_slice(&0_u16.to_be_bytes());
        out.resize(out.len() + self.padding, 0);
        out.extend_from_slice(&self.mac1);
    }

    /// What an offer consists of, but for the version in front of it.
    fn put_offer(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.pattern, self.suite]);
        put_offers(out, &self.versions);
        put_offers(out, &self.suites);
        put_cid(out, self.cid);
    }

    fn decode(datagram: &Bytes, version: u8, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        check_hello_length(datagram)?;
        let (pattern, suite) = (reader.u8()?, reader.u8()?);
        let versions = offers(&mut reader)?;
        let suites = offers(&mut reader)?;
        if !versions.contains(&version) {
            return Err(DecodeError::Invalid(
                "version: it is not among those offered",
            ));
        }
        if !suites.contains(&suite) {
            return Err(DecodeError::Invalid("suite: it is not among those offered"));
        }
        let cid = node_cid(&mut reader)?;
        let cookie = cookie(datagram, &mut reader)?;
        let noise = noise(datagram, &mut reader)?;
        if reader.u16()? != 0 {
            return Err(DecodeError::Invalid(
                "early data: there is none in this version",
            ));
        }
        let padding = reader
            .remaining()
            .checked_sub(MAC1_LEN)
            .ok_or(DecodeError::Truncated)?;
        if reader.bytes(padding)?.iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Invalid("padding"));
        }
        let mac1 = reader.array()?;
        reader.finish()?;
        Ok(Self {
            version,
            pattern,
            suite,
            versions: versions.to_vec(),
            suites: suites.to_vec(),
            cid,
            cookie,
            noise,
            padding,
            mac1,
        })
    }
}

/// What can be read of a HELLO in a version that is not spoken here: enough to answer it with a
/// [`VersionReply`] (HSD-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownHello {
    /// The version that the node speaks.
    pub version: u8,
    /// Where the node wants the answer.
    pub cid: NodeCid,
}

impl UnknownHello {
    /// Reads the fields that stand at the same place in all versions.
    ///
    /// The minimum length of HSD-3 holds for all versions too, so that the answer is shorter than
    /// the question (HSD-8).
    pub fn decode(datagram: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(checked_body(datagram)?);
        let (kind, version) = (reader.u8()?, reader.u8()?);
        if kind != HELLO {
            return Err(DecodeError::UnknownType(kind));
        }
        check_hello_length(datagram)?;
        reader.bytes(2)?; // a pattern and a suite
        offers(&mut reader)?;
        offers(&mut reader)?;
        let cid = node_cid(&mut reader)?;
        Ok(Self { version, cid })
    }
}

/// A broker's answer to a HELLO (HSD-4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// The version of this datagram.
    pub version: u8,
    /// The connection id that the node chose.
    pub cid: NodeCid,
    /// The second Noise message.
    pub noise: Bytes,
}

impl Accept {
    /// Appends the whole datagram, CRC included.
    ///
    /// # Panics
    ///
    /// If the whole is longer than [`DATAGRAM_BASE`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_datagram(out, ACCEPT, self.version, |out| {
            put_cid(out, self.cid);
            put_noise(out, &self.noise);
        });
    }

    fn decode(datagram: &Bytes, version: u8, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let cid = node_cid(&mut reader)?;
        let noise = noise(datagram, &mut reader)?;
        reader.finish()?;
        Ok(Self {
            version,
            cid,
            noise,
        })
    }
}

/// A node's second message on first contact (HSD-5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The version of this datagram.
    pub version: u8,
    /// The connection id that the broker chose.
    pub cid: BrokerCid,
    /// The third Noise message.
    pub noise: Bytes,
}

impl Finish {
    /// Appends the whole datagram, CRC included.
    ///
    /// # Panics
    ///
    /// If the whole is longer than [`DATAGRAM_BASE`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_datagram(out, FINISH, self.version, |out| {
            out.extend_from_slice(&self.cid);
            put_noise(out, &self.noise);
        });
    }

    fn decode(datagram: &Bytes, version: u8, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let cid = reader.array()?;
        let noise = noise(datagram, &mut reader)?;
        reader.finish()?;
        Ok(Self {
            version,
            cid,
            noise,
        })
    }
}

/// A broker's demand for a cookie (HSD-6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The version of this datagram.
    pub version: u8,
    /// The connection id that the node chose.
    pub cid: NodeCid,
    /// Which HELLO this answers: see [`Hello::mark`].
    pub mark: [u8; MARK_LEN],
    /// What the node is to put into its next HELLO: at most [`COOKIE_MAX`] bytes.
    pub cookie: Bytes,
}

impl Retry {
    /// Appends the whole datagram, CRC included.
    ///
    /// # Panics
    ///
    /// If the cookie is longer than [`COOKIE_MAX`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_datagram(out, RETRY, self.version, |out| {
            put_cid(out, self.cid);
            out.extend_from_slice(&self.mark);
            put_cookie(out, &self.cookie);
        });
    }

    fn decode(datagram: &Bytes, version: u8, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let cid = node_cid(&mut reader)?;
        let mark = reader.array()?;
        let cookie = cookie(datagram, &mut reader)?;
        reader.finish()?;
        Ok(Self {
            version,
            cid,
            mark,
            cookie,
        })
    }
}

/// A broker's answer to a HELLO in a version that it does not speak (HSD-7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionReply {
    /// The version of the HELLO that this answers.
    pub version: u8,
    /// The connection id that the node chose.
    pub cid: NodeCid,
    /// The versions that the broker speaks: 1 to [`OFFERS_MAX`].
    pub versions: Vec<u8>,
}

impl VersionReply {
    /// Appends the whole datagram, CRC included.
    ///
    /// # Panics
    ///
    /// If the list breaks its bounds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_datagram(out, VERSION_REPLY, self.version, |out| {
            put_cid(out, self.cid);
            put_offers(out, &self.versions);
        });
    }

    fn decode(version: u8, mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let cid = node_cid(&mut reader)?;
        let versions = offers(&mut reader)?.to_vec();
        reader.finish()?;
        Ok(Self {
            version,
            cid,
            versions,
        })
    }
}

/// The connection id that a broker chose for a link: where a node sends its datagrams (PKT-1).
pub type BrokerCid = [u8; BROKER_CID_LEN];

/// The connection id that a node chose for a link: 0 to [`NODE_CID_MAX`] bytes (PKT-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeCid {
    len: u8,
    /// The id, then zeros.
    bytes: [u8; NODE_CID_MAX],
}

impl NodeCid {
    /// The id with these bytes, if they are not too many.
    #[must_use]
    pub fn new(cid: &[u8]) -> Option<Self> {
        let len = u8::try_from(cid.len()).ok()?;
        let mut bytes = [0; NODE_CID_MAX];
        bytes.get_mut(..cid.len())?.copy_from_slice(cid);
        Some(Self { len, bytes })
    }

    /// The id's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The CRC-32 of a datagram without its last four bytes (HSD-1).
pub(super) fn crc(body: &[u8]) -> [u8; CRC_LEN] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(PROTOCOL_ID);
    hasher.update(body);
    hasher.finalize().to_be_bytes()
}

/// A datagram without its CRC, if that is right (HSD-1).
fn checked_body(datagram: &[u8]) -> Result<&[u8], DecodeError> {
    let (body, received) = datagram.split_last_chunk().ok_or(DecodeError::Truncated)?;
    if crc(body) == *received || crate::bug!(NoCrc) {
        Ok(body)
    } else {
        Err(DecodeError::BadCrc)
    }
}

/// HSD-3.
fn check_hello_length(datagram: &[u8]) -> Result<(), DecodeError> {
    if (HELLO_MIN..=DATAGRAM_BASE).contains(&datagram.len()) {
        Ok(())
    } else {
        Err(DecodeError::Invalid("HELLO length"))
    }
}

/// A count byte, 1 to [`OFFERS_MAX`], and that many bytes (HSD-2).
fn offers<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let count = usize::from(reader.u8()?);
    if !(1..=OFFERS_MAX).contains(&count) {
        return Err(DecodeError::Invalid("number of offers"));
    }
    reader.bytes(count)
}

/// A length byte, 0 to [`NODE_CID_MAX`], and that many bytes (HSD-2).
fn node_cid(reader: &mut Reader<'_>) -> Result<NodeCid, DecodeError> {
    let len = usize::from(reader.u8()?);
    if len > NODE_CID_MAX {
        return Err(DecodeError::Invalid("connection id length"));
    }
    NodeCid::new(reader.bytes(len)?).ok_or(DecodeError::Invalid("connection id length"))
}

/// A length byte, 0 to [`COOKIE_MAX`], and that many bytes (HSD-2).
fn cookie(datagram: &Bytes, reader: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
    let len = usize::from(reader.u8()?);
    if len > COOKIE_MAX {
        return Err(DecodeError::Invalid("cookie length"));
    }
    Ok(datagram.slice_ref(reader.bytes(len)?))
}

/// A two-byte length and that many bytes (HSD-2).
fn noise(datagram: &Bytes, reader: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
    let len = reader.u16()?;
    Ok(datagram.slice_ref(reader.bytes(usize::from(len))?))
}

/// Appends type, version, fields and CRC.
fn put_datagram(out: &mut Vec<u8>, kind: u8, version: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[kind, version]);
    fields(out);
    let crc = crc(&out[start..]);
    out.extend_from_slice(&crc);
    let len = out.len() - start;
    assert!(len <= DATAGRAM_BASE, "a datagram of {len} bytes");
}

fn put_offers(out: &mut Vec<u8>, offers: &[u8]) {
    let count = offers.len();
    assert!((1..=OFFERS_MAX).contains(&count), "{count} offers");
    put_short(out, offers);
}

fn put_cid(out: &mut Vec<u8>, cid: NodeCid) {
    put_short(out, cid.as_bytes());
}

fn put_cookie(out: &mut Vec<u8>, cookie: &[u8]) {
    let len = cookie.len();
    assert!(len <= COOKIE_MAX, "a cookie of {len} bytes");
    put_short(out, cookie);
}

/// A length byte and the bytes; the callers have checked that the length fits.
fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

/// A two-byte length and the bytes.
fn put_noise(out: &mut Vec<u8>, noise: &[u8]) {
    let len = noise.len();
    assert!(len <= DATAGRAM_BASE, "a Noise message of {len} bytes");
    out.extend_from_slice(&(len as u16).to_be_bytes());
    out.extend_from_slice(noise);
}

#[cfg(test)]
mod tests;
