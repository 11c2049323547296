//! Sealing and opening data packets (SPEC.md sections 5.2 and 6.2).
//!
//! From the secret of its direction each side derives a packet key, an IV and a header-protection
//! key (KEY-1). A [`Sealer`] encrypts the frames with AES-256-GCM, the plain header being the
//! associated data (PKT-5), and then hides the packet number and the lowest bits of the flags
//! behind a mask drawn from the ciphertext (PKT-4). An [`Opener`] does the reverse: it lifts the
//! mask, restores the packet number, asks the replay window, decrypts, and only then changes
//! anything (KEY-2, KEY-3).
//!
//! Packet key and IV last for an *epoch*, which the sender ends when it likes. The opener follows as
//! soon as a packet of the next one has decrypted, and still takes those of the one before, which
//! the network may have held back (KEY-7). Packet numbers and header protection know no epochs.

use core::time::Duration;

use bytes::{Bytes, BytesMut};
use ring::aead::quic::{AES_256, HeaderProtectionKey};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{self, HKDF_SHA256, KeyType, Prk};
use zeroize::Zeroizing;

use super::keys::KEY_LEN;
use super::replay::ReplayWindow;
use crate::bug;
use crate::wire::{Flags, SAMPLE_OFFSET, TAG_LEN, pad_for_sample, restore_number};

/// How many packets may be sealed with one key: the confidentiality limit of AES-GCM (RFC 9001
/// section 6.6). Our short packets would allow 2^28 (its appendix B) (KEY-4).
pub const SEALED_MAX: u64 = 1 << 23;
/// After how many packets a sender goes on to the next epoch (KEY-8): long before [`SEALED_MAX`].
pub const KEY_PACKETS: u64 = 1 << 20;
/// After how long a sender goes on to the next epoch (KEY-8).
pub const KEY_LIFETIME: Duration = Duration::from_secs(3_600);
/// How many packet numbers before [`SEALED_MAX`] a link stops, so that its CLOSE and whatever is
/// on its way with it still fit (KEY-4).
pub const SEALED_RESERVE: u64 = 1 << 10;
/// After how many packets that fail authentication a link closes. The integrity limit of AES-GCM
/// is 2^52 (RFC 9001 section 6.6) (KEY-4).
pub const FORGED_MAX: u64 = 1 << 36;

/// How many bytes of ciphertext the mask is drawn from (PKT-4).
const SAMPLE_LEN: usize = 16;

/// The secret of one direction, from which the keys of all its epochs come (KEY-1).
struct Secret(Zeroizing<[u8; KEY_LEN]>);

impl Secret {
    fn new(secret: &[u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(*secret))
    }

    fn prk(&self) -> Prk {
        Prk::new_less_safe(HKDF_SHA256, &*self.0)
    }

    /// The keys of an epoch (KEY-1).
    fn epoch(&self, epoch: u64) -> EpochKeys {
        let prk = self.prk();
        let info = |name: &str| format!("tertulia {name} {epoch}").into_bytes();
        let key = Zeroizing::new(expand::<KEY_LEN>(&prk, &info("key")));
        EpochKeys {
            aead: LessSafeKey::new(
                UnboundKey::new(&AES_256_GCM, &*key).expect("an AES-256 key has 32 bytes"),
            ),
            iv: Zeroizing::new(expand(&prk, &info("iv"))),
        }
    }

    /// The key for the headers, the same in all epochs (KEY-1).
    fn header(&self) -> HeaderKey {
        let key = Zeroizing::new(expand::<KEY_LEN>(&self.prk(), b"tertulia hp"));
        let key = HeaderProtectionKey::new(&AES_256, &*key);
        HeaderKey(key.expect("an AES-256 key has 32 bytes"))
    }
}

/// What seals and opens the frames of an epoch (KEY-1).
struct EpochKeys {
    aead: LessSafeKey,
    iv: Zeroizing<[u8; NONCE_LEN]>,
}

impl EpochKeys {
    /// The IV xor the packet number (PKT-5).
    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = *self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(number.to_be_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// What hides flags and packet number (KEY-1).
struct HeaderKey(HeaderProtectionKey);

impl HeaderKey {
    /// The mask for the flags (first byte) and the packet number, from a protected packet whose
    /// number begins at `number_offset` (PKT-4). `None` if the packet is too short for a sample.
    fn mask(&self, packet: &[u8], number_offset: usize) -> Option<[u8; 5]> {
        let start = number_offset + SAMPLE_OFFSET;
        let sample = packet.get(start..start + SAMPLE_LEN)?;
        self.0.new_mask(sample).ok()
    }
}

/// What a [`Sealer`] works with: thirty times as large as the secret that it is made of.
struct SealingKeys {
    header: HeaderKey,
    current: EpochKeys,
}

/// Seals the packets of one direction.
pub struct Sealer {
    secret: Secret,
    /// Made of the secret when something is to be sealed.
    keys: Option<Box<SealingKeys>>,
    epoch: u64,
    /// The number of the epoch's first packet.
    since: u64,
}

impl Sealer {
    /// Seals with the keys derived from `secret`, a [`send`](super::LinkSecrets::send) secret.
    #[must_use]
    pub fn new(secret: &[u8; KEY_LEN]) -> Self {
        Self {
            secret: Secret::new(secret),
            keys: None,
            epoch: 0,
            since: 0,
        }
    }

    /// Keeps no more than the secret until something is to be sealed again.
    pub fn rest(&mut self) {
        self.keys = None;
    }

    /// The epoch of the packets that are sealed now; the header tells its lowest two bits (PKT-6).
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the first packet of that epoch.
    #[must_use]
    pub const fn epoch_since(&self) -> u64 {
        self.since
    }

    /// From packet `number` on, seals with the keys of the next epoch (KEY-7). For the caller to see
    /// to it that the peer has followed into the present one.
    pub fn advance(&mut self, number: u64) {
        self.epoch += 1;
        self.since = number;
        if let Some(keys) = &mut self.keys {
            keys.current = self.secret.epoch(self.epoch);
        }
    }

    /// Seals the packet with that number at the end of `out`: `out[header_start..]` is the plain
    /// header, whose packet number begins at `out[number_offset]`, and the frames. They are padded
    /// to the least length (PKT-3), encrypted in place (PKT-5) and protected (PKT-4); `out` grows
    /// by the tag and the padding.
    ///
    /// # Panics
    ///
    /// If the header is not in `out`, or, with debug assertions, if it tells another epoch, or
    /// `number` is past the limit of [`exhausted`](Self::exhausted) and its reserve: wrong local
    /// calls.
    pub fn seal(
        &mut self,
        number: u64,
        out: &mut Vec<u8>,
        header_start: usize,
        number_offset: usize,
    ) {
        let sealed = number.saturating_sub(self.since);
        debug_assert!(sealed < SEALED_MAX, "the link must have closed (KEY-4)");
        debug_assert_eq!(
            Flags(out[header_start]).epoch(),
            Flags::epoch_bits(self.epoch)
        );
        let number_len = Flags(out[header_start]).number_len();
        let frames = number_offset + number_len;
        pad_for_sample(out, number_offset);

        let (secret, epoch) = (&self.secret, self.epoch);
        let keys = self.keys.get_or_insert_with(|| {
            let (header, current) = (secret.header(), secret.epoch(epoch));
            Box::new(SealingKeys { header, current })
        });
        let (header, payload) = out.split_at_mut(frames);
        let tag = keys
            .current
            .aead
            .seal_in_place_separate_tag(
                keys.current.nonce(number),
                Aad::from(&header[header_start..]),
                payload,
            )
            .expect("a datagram is far below the AEAD's length limit");
        out.extend_from_slice(tag.as_ref());

        let mask = keys
            .header
            .mask(out, number_offset)
            .expect("four bytes and the tag hold the sample");
        out[header_start] ^= mask[0] & Flags::PROTECTED;
        xor(&mut out[number_offset..frames], &mask[1..]);
    }

    /// Whether a link whose next packet has that number must close (KEYS) instead of sending
    /// anything else under this key (KEY-4).
    #[must_use]
    pub const fn exhausted(&self, number: u64) -> bool {
        number.saturating_sub(self.since) >= SEALED_MAX - SEALED_RESERVE
    }
}

/// A packet that has decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The whole packet number.
    pub number: u64,
    /// Whether a reserved bit was set, which breaks the protocol (PKT-6).
    pub reserved_bits: bool,
    /// The frames.
    pub payload: Bytes,
}

/// Why a datagram was dropped. Anybody can be to blame: nothing about it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than any packet (PKT-3).
    #[error("too short for a packet")]
    TooShort,
    /// Of an epoch that is neither in use nor next to it (PKT-6, KEY-7).
    #[error("unknown key epoch")]
    Epoch,
    /// Its number was seen before, or is below the window (KEY-2).
    #[error("packet number seen before or too old")]
    Replay,
    /// It was not sealed by the peer, or was changed on the way (KEY-4).
    #[error("authentication failed")]
    Authentication,
}

/// What an [`Opener`] works with: all of it made of its secret.
struct OpeningKeys {
    header: HeaderKey,
    /// The keys of the opener's epoch.
    current: EpochKeys,
    /// Those of the one before, from the first datagram on that claims to be of it (KEY-7).
    previous: Option<Box<EpochKeys>>,
    /// Those of the one after, likewise.
    next: Option<Box<EpochKeys>>,
}

impl OpeningKeys {
    fn new(secret: &Secret, epoch: u64) -> Self {
        Self {
            header: secret.header(),
            current: secret.epoch(epoch),
            previous: None,
            next: None,
        }
    }
}

/// Opens the packets of one direction, each once.
pub struct Opener {
    secret: Secret,
    /// Made of the secret when something is to be opened.
    keys: Option<Box<OpeningKeys>>,
    epoch: u64,
    window: ReplayWindow,
    forged: u64,
}

impl Opener {
    /// Opens with the keys derived from `secret`, a [`receive`](super::LinkSecrets::receive) secret.
    #[must_use]
    pub fn new(secret: &[u8; KEY_LEN]) -> Self {
        Self {
            secret: Secret::new(secret),
            keys: None,
            epoch: 0,
            window: ReplayWindow::new(),
            forged: 0,
        }
    }

    /// Keeps no more than the secret, and which numbers were seen, until something is to be opened
    /// again.
    pub fn rest(&mut self) {
        self.keys = None;
    }

    /// The largest packet number that has decrypted.
    #[must_use]
    pub const fn largest(&self) -> Option<u64> {
        self.window.largest()
    }

    /// How many packets failed authentication (KEY-4).
    #[must_use]
    pub const fn forged(&self) -> u64 {
        self.forged
    }

    /// The highest epoch of which a packet has decrypted (KEY-7).
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether so many packets failed authentication that the link must close (KEYS) (KEY-4).
    #[must_use]
    pub const fn exhausted(&self) -> bool {
        self.forged >= FORGED_MAX
    }

    /// Opens a datagram of the data class whose connection id has `cid_len` bytes (PKT-1). Nothing
    /// but the count of forgeries changes unless it decrypts (KEY-2, KEY-3).
    pub fn open(&mut self, mut datagram: BytesMut, cid_len: usize) -> Result<Opened, OpenError> {
        let number_offset = 1 + cid_len;
        let mask = self
            .ready()
            .0
            .header
            .mask(&datagram, number_offset)
            .ok_or(OpenError::TooShort)?;
        let age = self.age_of(Flags(datagram[0]).epoch())?;
        datagram[0] ^= mask[0] & Flags::PROTECTED;
        let flags = Flags(datagram[0]);
        let number_len = flags.number_len();
        let mut payload = datagram.split_off(number_offset + number_len);
        let sent = &mut datagram[number_offset..];
        xor(sent, &mask[1..]);
        let low = sent.iter().fold(0, |low, byte| low << 8 | u32::from(*byte));

        let number = restore_number(low, number_len, self.window.largest());
        if !self.window.is_fresh(number) {
            return Err(OpenError::Replay);
        }
        let plain_len = self.decrypt(age, number, &datagram, &mut payload)?;
        payload.truncate(plain_len);
        self.window.insert(number);
        if age == Age::Next {
            self.follow();
        }
        Ok(Opened {
            number,
            reserved_bits: flags.has_reserved_bits(),
            payload: payload.freeze(),
        })
    }

    /// Which keys the epoch bits of a header mean (KEY-7).
    fn age_of(&self, bits: u8) -> Result<Age, OpenError> {
        let is = |epoch| Flags::epoch_bits(epoch) == bits;
        if is(self.epoch) {
            Ok(Age::Current)
        } else if is(self.epoch + 1) {
            Ok(Age::Next)
        } else if self.epoch.checked_sub(1).is_some_and(is) {
            Ok(Age::Previous)
        } else {
            Err(OpenError::Epoch)
        }
    }

    /// What it works with, and what more of that is made of.
    fn ready(&mut self) -> (&mut OpeningKeys, &Secret) {
        let (secret, epoch) = (&self.secret, self.epoch);
        let make = || Box::new(OpeningKeys::new(secret, epoch));
        (self.keys.get_or_insert_with(make), secret)
    }

    /// The keys of that age. Those of another epoch than the present one are derived when they are
    /// first asked for, and kept: a stranger who sends their bits costs that once.
    fn keys(&mut self, age: Age) -> &EpochKeys {
        let epoch = self.epoch;
        let (keys, secret) = self.ready();
        let derived = |epoch| Box::new(secret.epoch(epoch));
        match age {
            Age::Current => &keys.current,
            Age::Previous => keys.previous.get_or_insert_with(|| derived(epoch - 1)),
            Age::Next => keys.next.get_or_insert_with(|| derived(epoch + 1)),
        }
    }

    /// A packet of the next epoch has decrypted, so the peer is there (KEY-7).
    fn follow(&mut self) {
        let (keys, _) = self.ready();
        if let Some(next) = keys.next.take() {
            let current = core::mem::replace(&mut keys.current, *next);
            keys.previous = Some(Box::new(current));
            self.epoch += 1;
        }
    }

    /// Decrypts `payload` in place and says how many bytes of it are frames; the rest is the tag.
    fn decrypt(
        &mut self,
        age: Age,
        number: u64,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<usize, OpenError> {
        if bug!(NoAeadCheck) {
            return Ok(decrypt_unchecked(self.keys(age), number, payload));
        }
        let keys = self.keys(age);
        let nonce = keys.nonce(number);
        match keys.aead.open_in_place(nonce, Aad::from(header), payload) {
            Ok(plain) => Ok(plain.len()),
            Err(ring::error::Unspecified) => {
                self.forged = self.forged.saturating_add(1);
                Err(OpenError::Authentication)
            }
        }
    }
}

/// How old the epoch of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Previous,
    Current,
    Next,
}

/// What [`Opener::decrypt`] does without looking at the tag. Sealing zeros under the same nonce gives
/// the keystream, which is all that lies between ciphertext and plain text.
fn decrypt_unchecked(keys: &EpochKeys, number: u64, payload: &mut [u8]) -> usize {
    let plain_len = payload.len() - TAG_LEN;
    let mut keystream = vec![0; plain_len];
    let _tag = keys
        .aead
        .seal_in_place_separate_tag(keys.nonce(number), Aad::empty(), &mut keystream)
        .expect("a datagram is far below the AEAD's length limit");
    xor(&mut payload[..plain_len], &keystream);
    plain_len
}

/// `N` bytes of HKDF-Expand (KEY-1).
fn expand<const N: usize>(secret: &Prk, info: &[u8]) -> [u8; N] {
    struct Length<const N: usize>;
    impl<const N: usize> KeyType for Length<N> {
        fn len(&self) -> usize {
            N
        }
    }
    let mut out = [0; N];
    secret
        .expand(&[info], Length::<N>)
        .and_then(|okm: hkdf::Okm<'_, _>| okm.fill(&mut out))
        .expect("HKDF gives up to 8,160 bytes");
    out
}

fn xor(bytes: &mut [u8], mask: &[u8]) {
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests;
