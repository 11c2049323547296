//! The sending half of the channels.

use core::ops::Range;
use std::collections::VecDeque;

use bytes::Bytes;

use super::credit::Allowance;
use super::{
    CHANNEL_BYTES_MAX, CHANNEL_BYTES_MIN, CHANNEL_MESSAGES_MAX, CONTROL, CREDIT_CHANNEL,
    CREDIT_LINK, FRAGMENTS_MAX, PIECE_BASE, Piece, SPARSE_BYTES, piece_max,
};
use crate::bug;
use crate::link::report::SendError;
use crate::wire::{DATAGRAM_BASE, MESSAGE_MAX, frag_header_len, msg_header_len, put_frag, put_msg};

const _: () = assert!(MESSAGE_MAX.div_ceil(PIECE_BASE) <= FRAGMENTS_MAX);

/// All channels that anything was ever sent on, by their numbers, and whose turn it is.
#[derive(Debug)]
pub(in crate::link) struct SendChannels {
    channels: Vec<SendChannel>,
    /// For all but the control channel, which nothing is to hold up (CRD-1).
    credit: Allowance,
    /// The channel that begins the next packet, after the control channel (CHN-6).
    turn: u8,
    /// How many bytes of each channel may be unacknowledged (CHN-4).
    room: usize,
    /// For datagrams of how many bytes messages are cut now (MTU-5).
    datagram: u16,
}

/// Which pieces to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Which {
    Lost,
    New,
}

impl Default for SendChannels {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            credit: Allowance::new(CREDIT_LINK),
            turn: 0,
            room: CHANNEL_BYTES_MIN,
            datagram: DATAGRAM_BASE as u16,
        }
    }
}

impl SendChannels {
    /// Whether a message of `len` bytes may be queued (CHN-4, CHN-5, CRD-2).
    pub(in crate::link) fn check(&self, channel: u8, len: usize) -> Result<(), SendError> {
        if len > MESSAGE_MAX {
            return Err(SendError::TooLong);
        }
        if bug!(UnboundedQueue) {
            return Ok(());
        }
        let is_full = |channel: &SendChannel| !channel.has_room(len, self.room);
        let is_poor = |channel: &SendChannel| !channel.credit.has_room(len);
        let state = self.get(channel);
        if state.is_some_and(is_full) {
            return Err(SendError::ChannelFull);
        }
        if state.is_some_and(is_poor) || (channel != CONTROL && !self.credit.has_room(len)) {
            crate::sometimes!(CreditBlocked);
            return Err(SendError::NoCredit);
        }
        Ok(())
    }

    /// Lets each channel have `window` bytes in flight, and as many on the way to being repaired
    /// (CHN-4).
    pub(in crate::link) fn set_window(&mut self, window: u64) {
        let room = usize::try_from(window.saturating_mul(2)).unwrap_or(usize::MAX);
        self.room = room.clamp(CHANNEL_BYTES_MIN, CHANNEL_BYTES_MAX);
    }

    /// What is cut from now on is cut for datagrams of `datagram` bytes (MTU-5).
    pub(in crate::link) const fn set_datagram(&mut self, datagram: usize) {
        self.datagram = datagram as u16;
    }

    /// For datagrams of how many bytes messages are cut now.
    pub(in crate::link) const fn datagram(&self) -> usize {
        self.datagram as usize
    }

    /// Cuts what is larger than any path takes anew, to be sent again from the beginning (MTU-5).
    pub(in crate::link) fn cut_anew(&mut self) {
        self.set_datagram(DATAGRAM_BASE);
        for channel in &mut self.channels {
            channel.cut_anew();
        }
    }

    /// Queues a message that was checked.
    pub(in crate::link) fn push(&mut self, channel: u8, data: Bytes) {
        let at = match self.find(channel) {
            Ok(at) => at,
            Err(at) => {
                // Few links use many.
                self.channels.reserve_exact(1);
                self.channels.insert(at, SendChannel::new(channel));
                at
            }
        };
        if channel != CONTROL {
            self.credit.spend(data.len());
        }
        self.channels[at].push(data);
    }

    /// The peer takes more of all channels together (CRD-3).
    pub(in crate::link) fn on_link_credit(&mut self, limit: u64) {
        self.credit.raise(limit);
    }

    /// The peer takes more of one channel (CRD-3).
    pub(in crate::link) fn on_channel_credit(&mut self, channel: u8, limit: u64) {
        if let Some(channel) = self.get_mut(channel) {
            channel.credit.raise(limit);
        }
    }

    /// Whether a message was ever sent on `channel` (CHN-2).
    pub(in crate::link) fn is_used(&self, channel: u8) -> bool {
        self.find(channel).is_ok()
    }

    /// How many messages of `channel` are unacknowledged, counted from the oldest.
    pub(in crate::link) fn unacked(&self, channel: u8) -> usize {
        self.get(channel)
            .map_or(0, |channel| channel.messages.len())
    }

    /// How many messages are unacknowledged on all channels, and their bytes.
    pub(in crate::link) fn holds(&self) -> (usize, usize) {
        let channels = self.channels.iter();
        channels.fold((0, 0), |(messages, bytes), channel| {
            (messages + channel.messages.len(), bytes + channel.bytes)
        })
    }

    /// Whether any message is unacknowledged.
    pub(in crate::link) fn has_unacked(&self) -> bool {
        self.channels
            .iter()
            .any(|channel| !channel.messages.is_empty())
    }

    /// Whether any piece waits to be sent, for the first time or again.
    pub(in crate::link) fn has_pending(&self) -> bool {
        self.channels.iter().any(SendChannel::has_pending)
    }

    /// Appends pieces that wait to be sent, as long as `out` stays within `end` bytes, and shows
    /// each to `each`. The control channel goes first, then sparse channels, then the others in turn
    /// (CHN-6); each sends `which` pieces in that order, so lost ones ahead of new ones (LOSS-2).
    pub(in crate::link) fn fill(
        &mut self,
        which: &[Which],
        out: &mut Vec<u8>,
        end: usize,
        mut each: impl FnMut(Piece, Which),
    ) {
        let has_control = self.find(CONTROL).is_ok();
        let room = Room {
            end,
            piece: piece_max(self.datagram()) as u16,
        };
        let (control, others) = self.channels.split_at_mut(usize::from(has_control));
        for channel in control {
            channel.fill_all(which, out, room, &mut each);
        }
        for channel in others.iter_mut().filter(|channel| channel.is_sparse()) {
            channel.fill_all(which, out, room, &mut each);
        }
        let first = others.partition_point(|channel| channel.id < self.turn);
        let (before, from) = others.split_at_mut(first);
        let mut begun_by = None;
        for channel in from.iter_mut().chain(before) {
            if channel.fill_all(which, out, room, &mut each) {
                begun_by.get_or_insert(channel.id);
            }
        }
        if let Some(channel) = begun_by {
            self.turn = channel + 1;
        }
    }

    /// Appends a piece again that is in flight or lost, if `out` stays within `end` bytes. Says
    /// whether it did.
    pub(in crate::link) fn repeat(&mut self, piece: Piece, out: &mut Vec<u8>, end: usize) -> bool {
        self.get_mut(piece.channel)
            .is_some_and(|channel| channel.repeat(piece, out, end))
    }

    /// The length of the message that a piece is the whole of (CHN-5); `None` if it is a part, or
    /// the message is settled.
    pub(in crate::link) fn whole_len(&self, piece: Piece) -> Option<usize> {
        let message = self.get(piece.channel)?.get(piece.number)?;
        message.is_whole().then(|| message.data.len())
    }

    /// Whether the peer has a piece (LOSS-2).
    pub(in crate::link) fn is_settled(&self, piece: Piece) -> bool {
        self.get(piece.channel).is_none_or(|channel| {
            let message = channel.get(piece.number);
            message.is_none_or(|message| message.is_settled(piece))
        })
    }

    /// The peer has a piece: any copy of it settles it (LOSS-2).
    pub(in crate::link) fn on_acked(&mut self, piece: Piece) {
        if let Some(channel) = self.get_mut(piece.channel) {
            channel.on_acked(piece);
        }
    }

    /// A packet with a piece was lost: unless another copy settled it, it is to be sent again
    /// (LOSS-2).
    pub(in crate::link) fn on_lost(&mut self, piece: Piece) {
        if bug!(GiveUpRetransmitting) {
            return;
        }
        if let Some(channel) = self.get_mut(piece.channel) {
            crate::sometimes!(PieceLost);
            channel.on_lost(piece);
        }
    }

    /// Keeps no memory for what channels once had to send: the link rests.
    pub(in crate::link) fn release(&mut self) {
        for channel in &mut self.channels {
            channel.messages.shrink_to_fit();
        }
    }

    fn find(&self, channel: u8) -> Result<usize, usize> {
        self.channels
            .binary_search_by_key(&channel, |other| other.id)
    }

    fn get(&self, channel: u8) -> Option<&SendChannel> {
        self.find(channel).ok().map(|at| &self.channels[at])
    }

    fn get_mut(&mut self, channel: u8) -> Option<&mut SendChannel> {
        self.find(channel).ok().map(|at| &mut self.channels[at])
    }
}

/// One channel's messages, from the oldest that is not settled.
#[derive(Debug)]
struct SendChannel {
    id: u8,
    /// The number of the oldest message.
    first: u64,
    messages: VecDeque<Outgoing>,
    /// The bytes of `messages` (CHN-4).
    bytes: usize,
    credit: Allowance,
    /// The first piece that was never sent: a message's number and the piece's index.
    new: (u64, u8),
    /// How many pieces wait to be sent again.
    lost: u32,
    /// The bytes sent since nothing waited to be sent (CHN-6).
    burst: usize,
}

/// A message on its way. Bit `i` of a set stands for piece `i`.
#[derive(Debug)]
struct Outgoing {
    data: Bytes,
    settled: u64,
    lost: u64,
    /// The length of each piece but the last, from when the first is sent on.
    piece: u16,
    /// How often it was cut anew.
    cut: u8,
}

impl Outgoing {
    /// Whether it goes as a whole, whatever the path.
    fn is_whole(&self) -> bool {
        self.data.len() <= PIECE_BASE
    }

    fn pieces(&self) -> usize {
        self.data.len().div_ceil(self.piece.into()).max(1)
    }

    fn has_arrived(&self) -> bool {
        self.settled.count_ones() as usize == self.pieces()
    }

    /// Whether the peer has a piece, or nobody waits for it because it is no piece any more.
    fn is_settled(&self, piece: Piece) -> bool {
        piece.cut != self.cut || self.settled & (1 << piece.index) != 0
    }

    /// Where a piece lies in it.
    fn range(&self, index: u8) -> Range<usize> {
        let start = usize::from(index) * usize::from(self.piece);
        start..self.data.len().min(start + usize::from(self.piece))
    }
}

/// What a packet has room for.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// How long it may become.
    end: usize,
    /// How large a piece may be of what is cut now.
    piece: u16,
}

impl SendChannel {
    fn new(id: u8) -> Self {
        Self {
            id,
            first: 0,
            messages: VecDeque::new(),
            bytes: 0,
            credit: Allowance::new(CREDIT_CHANNEL),
            new: (0, 0),
            lost: 0,
            burst: 0,
        }
    }

    fn has_pending(&self) -> bool {
        self.lost > 0 || self.peek(Which::New).is_some()
    }

    /// Whether it sends little, and seldom enough for its queue to run empty (CHN-6).
    const fn is_sparse(&self) -> bool {
        self.burst < SPARSE_BYTES
    }

    fn has_room(&self, len: usize, room: usize) -> bool {
        self.messages.len() < CHANNEL_MESSAGES_MAX && self.bytes + len <= room
    }

    fn push(&mut self, data: Bytes) {
        if !self.has_pending() {
            self.burst = 0;
        }
        self.credit.spend(data.len());
        self.bytes += data.len();
        self.messages.push_back(Outgoing {
            data,
            settled: 0,
            lost: 0,
            piece: PIECE_BASE as u16,
            cut: 0,
        });
    }

    fn get(&self, number: u64) -> Option<&Outgoing> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get(at)
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Outgoing> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get_mut(at)
    }

    fn peek(&self, which: Which) -> Option<Piece> {
        let (number, index) = match which {
            Which::New => {
                self.get(self.new.0)?;
                self.new
            }
            Which::Lost if self.lost == 0 => return None,
            Which::Lost => {
                let at = self.messages.iter().position(|message| message.lost != 0)?;
                let index = self.messages[at].lost.trailing_zeros() as u8;
                (self.first + at as u64, index)
            }
        };
        let cut = self.get(number)?.cut;
        Some(Piece {
            channel: self.id,
            index,
            cut,
            number,
        })
    }

    /// See [`SendChannels::cut_anew`].
    fn cut_anew(&mut self) {
        for (number, message) in (self.first..).zip(&mut self.messages) {
            if message.is_whole() || usize::from(message.piece) <= PIECE_BASE {
                continue;
            }
            self.lost -= message.lost.count_ones();
            *message = Outgoing {
                data: message.data.clone(),
                settled: 0,
                lost: 0,
                piece: PIECE_BASE as u16,
                cut: message.cut.wrapping_add(1),
            };
            if number < self.new.0 {
                message.lost = u64::MAX >> (u64::BITS as usize - message.pieces());
                self.lost += message.lost.count_ones();
            } else if number == self.new.0 {
                self.new.1 = 0;
            }
        }
    }

    /// Says whether anything fitted.
    fn fill_all(
        &mut self,
        which: &[Which],
        out: &mut Vec<u8>,
        room: Room,
        each: &mut impl FnMut(Piece, Which),
    ) -> bool {
        let before = out.len();
        for which in which {
            self.fill(*which, out, room, each);
        }
        self.burst = self.burst.saturating_add(out.len() - before);
        out.len() > before
    }

    fn fill(
        &mut self,
        which: Which,
        out: &mut Vec<u8>,
        room: Room,
        each: &mut impl FnMut(Piece, Which),
    ) {
        while let Some(piece) = self.peek(which) {
            if which == Which::New
                && piece.index == 0
                && let Some(message) = self.get_mut(piece.number)
            {
                message.piece = room.piece;
            }
            if !self.put(piece, out, room.end) {
                break;
            }
            match which {
                Which::New => self.advance(),
                Which::Lost => self.unlose(piece),
            }
            each(piece, which);
        }
    }

    fn repeat(&mut self, piece: Piece, out: &mut Vec<u8>, end: usize) -> bool {
        let is_due = self
            .get(piece.number)
            .is_some_and(|message| !message.is_settled(piece));
        let did = is_due && self.put(piece, out, end);
        if did {
            self.unlose(piece);
        }
        did
    }

    /// Moves on to the next piece that was never sent.
    fn advance(&mut self) {
        let (number, index) = self.new;
        let pieces = self.get(number).map_or(0, Outgoing::pieces);
        self.new = match usize::from(index) + 1 < pieces {
            true => (number, index + 1),
            false => (number + 1, 0),
        };
    }

    /// Appends a piece, if `out` stays within `end` bytes. Says whether it did.
    fn put(&self, piece: Piece, out: &mut Vec<u8>, end: usize) -> bool {
        let Some(message) = self.get(piece.number) else {
            return false;
        };
        let (channel, number, total) = (self.id.into(), piece.number, message.data.len());
        let range = message.range(piece.index);
        let (offset, data) = (range.start as u64, &message.data[range]);
        let header = match message.is_whole() {
            true => msg_header_len(channel, number, data.len()),
            false => frag_header_len(channel, number, total as u64, offset, data.len()),
        };
        if out.len() + header + data.len() > end {
            return false;
        }
        match message.is_whole() {
            true => put_msg(out, channel, number, data),
            false => put_frag(out, channel, number, total as u64, offset, data),
        }
        true
    }

    fn on_lost(&mut self, piece: Piece) {
        let bit = 1 << piece.index;
        if let Some(message) = self.get_mut(piece.number)
            && !message.is_settled(piece)
            && message.lost & bit == 0
        {
            message.lost |= bit;
            self.lost += 1;
        }
    }

    fn unlose(&mut self, piece: Piece) {
        let bit = 1 << piece.index;
        if let Some(message) = self.get_mut(piece.number)
            && message.cut == piece.cut
            && message.lost & bit != 0
        {
            message.lost &= !bit;
            self.lost -= 1;
        }
    }

    fn on_acked(&mut self, piece: Piece) {
        self.unlose(piece);
        if let Some(message) = self.get_mut(piece.number)
            && message.cut == piece.cut
        {
            message.settled |= 1 << piece.index;
        }
        while let Some(oldest) = self.messages.front()
            && oldest.has_arrived()
        {
            self.bytes -= oldest.data.len();
            self.messages.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(channels: &mut SendChannels, room: usize) -> Vec<(u8, u64, u8)> {
        let mut pieces = Vec::new();
        channels.fill(
            &[Which::Lost, Which::New],
            &mut Vec::new(),
            room,
            |piece, _| {
                pieces.push((piece.channel, piece.number, piece.index));
            },
        );
        pieces
    }

    fn piece(channel: u8, number: u64, index: u8) -> Piece {
        Piece {
            channel,
            index,
            cut: 0,
            number,
        }
    }

    fn with(messages: &[(u8, usize)]) -> SendChannels {
        let mut channels = SendChannels::default();
        for (channel, len) in messages {
            channels.push(*channel, vec![0; *len].into());
        }
        channels
    }

    /// CHN-6.
    #[test]
    fn channels_take_turns_after_the_control_channel() {
        let full = 1000;
        let mut channels = with(&[
            (3, full),
            (3, full),
            (5, full),
            (5, full),
            (0, full),
            (9, full),
        ]);
        let order: Vec<_> = (0..6).map(|_| pieces(&mut channels, 1100)).collect();
        let channel: Vec<u8> = order.iter().map(|packet| packet[0].0).collect();
        assert_eq!(channel, [0, 3, 5, 9, 3, 5]);
        assert!(!channels.has_pending());
    }

    /// CHN-6: what a channel leaves of a packet, the others fill.
    #[test]
    fn small_messages_of_several_channels_share_a_packet() {
        let mut channels = with(&[(2, 10), (1, 10), (0, 10)]);
        assert_eq!(
            pieces(&mut channels, 1100),
            [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
        );
    }

    /// CHN-6: a line goes ahead of files, however many there are; and a file that comes after it
    /// does not profit from being new for long.
    #[test]
    fn a_channel_that_sends_little_goes_ahead_of_those_that_send_much() {
        let mut channels = with(&[(1, 60_000), (2, 60_000), (3, 60_000)]);
        for _ in 0..6 {
            let _ = pieces(&mut channels, 1150);
        }
        channels.push(9, vec![0; 100].into());
        channels.push(8, vec![0; 60_000].into());
        let next: Vec<u8> = (0..7).map(|_| pieces(&mut channels, 1150)[0].0).collect();
        assert_eq!(next, [8, 9, 8, 1, 2, 3, 8]);
    }

    /// CHN-4.
    #[test]
    fn a_channel_takes_twice_the_window_and_at_most_4_mib() {
        let mut channels = with(&[(1, MESSAGE_MAX); 4]);
        channels.set_window(100_000);
        assert_eq!(channels.check(1, 1), Err(SendError::ChannelFull));
        channels.set_window(MESSAGE_MAX as u64 * 5 / 2);
        assert_eq!(channels.check(1, MESSAGE_MAX), Ok(()));
        assert_eq!(channels.check(1, MESSAGE_MAX + 1), Err(SendError::TooLong));
        for _ in 0..60 {
            channels.push(1, vec![0; MESSAGE_MAX].into());
        }
        channels.set_window(u64::MAX);
        assert_eq!(channels.check(1, 1), Err(SendError::ChannelFull));
    }

    /// LOSS-2.
    #[test]
    fn lost_pieces_go_ahead_of_new_ones_of_their_channel() {
        let mut channels = with(&[(1, 10), (1, 10), (0, 10)]);
        let _ = pieces(&mut channels, 1100);
        channels.push(0, Bytes::new());
        channels.push(1, Bytes::new());
        channels.on_lost(piece(1, 1, 0));
        let expected = [(0, 1, 0), (1, 1, 0), (1, 2, 0)];
        assert_eq!(pieces(&mut channels, 1100), expected);
    }

    /// LOSS-2.
    #[test]
    fn a_piece_that_another_copy_settled_is_not_sent_again() {
        let mut channels = with(&[(1, 10), (1, 10)]);
        let _ = pieces(&mut channels, 1100);
        channels.on_acked(piece(1, 1, 0));
        channels.on_lost(piece(1, 1, 0));
        channels.on_lost(piece(1, 0, 0));
        channels.on_acked(piece(1, 0, 0));
        assert!(!channels.has_pending());
        assert!(!channels.has_unacked());
    }

    /// CHN-4: 256 messages, or 262,144 bytes, from the oldest unacknowledged on.
    #[test]
    fn a_channel_takes_256_messages_or_256_kib() {
        let mut channels = with(&[(1, 0); 256]);
        assert_eq!(channels.check(1, 0), Err(SendError::ChannelFull));
        assert_eq!(channels.check(2, 0), Ok(()));
        let _ = pieces(&mut channels, 4000);
        channels.on_acked(piece(1, 5, 0));
        assert_eq!(
            channels.check(1, 0),
            Err(SendError::ChannelFull),
            "0 is the oldest"
        );
        channels.on_acked(piece(1, 0, 0));
        assert_eq!(channels.check(1, 0), Ok(()));

        let channels = with(&[(1, MESSAGE_MAX); 4]);
        assert_eq!(channels.check(1, 1), Err(SendError::ChannelFull));
        assert_eq!(channels.check(1, 0), Ok(()));
    }

    /// CHN-5.
    #[test]
    fn a_long_message_goes_in_pieces_and_is_settled_when_all_are() {
        let mut channels = with(&[(1, MESSAGE_MAX)]);
        assert_eq!(channels.check(1, MESSAGE_MAX + 1), Err(SendError::TooLong));
        let mut all = Vec::new();
        while channels.has_pending() {
            all.extend(pieces(&mut channels, 1160));
        }
        assert_eq!(all.len(), MESSAGE_MAX.div_ceil(PIECE_BASE));
        for (channel, number, index) in all {
            assert!(channels.has_unacked());
            channels.on_acked(piece(channel, number, index));
        }
        assert!(!channels.has_unacked());
    }
}
