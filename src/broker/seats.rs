//! The seats of a session, by channel: few sessions have many, and a session with one keeps it here.

use smallvec::SmallVec;

use super::session::Seat;

/// A map from channels to seats, in the order of the channels.
#[derive(Default)]
pub(super) struct Seats(SmallVec<[(u8, Box<Seat>); 1]>);

impl Seats {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, channel: u8) -> Option<&Seat> {
        let at = self.find(channel).ok()?;
        Some(&self.0[at].1)
    }

    pub(super) fn get_mut(&mut self, channel: u8) -> Option<&mut Seat> {
        let at = self.find(channel).ok()?;
        Some(&mut self.0[at].1)
    }

    pub(super) fn insert(&mut self, channel: u8, seat: Seat) {
        let seat = Box::new(seat);
        match self.find(channel) {
            Ok(at) => self.0[at].1 = seat,
            Err(at) => self.0.insert(at, (channel, seat)),
        }
    }

    /// The first channel from `from` on.
    pub(super) fn first_from(&self, from: u8) -> Option<u8> {
        let at = self.0.partition_point(|(channel, _)| *channel < from);
        self.0.get(at).map(|(channel, _)| *channel)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, &Seat)> {
        self.0.iter().map(|(channel, seat)| (*channel, &**seat))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Seat> {
        self.0.iter().map(|(_, seat)| &**seat)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.0.iter_mut().map(|(_, seat)| &mut **seat)
    }

    fn find(&self, channel: u8) -> Result<usize, usize> {
        self.0.binary_search_by_key(&channel, |(other, _)| *other)
    }
}

impl IntoIterator for Seats {
    type Item = (u8, Box<Seat>);
    type IntoIter = smallvec::IntoIter<[(u8, Box<Seat>); 1]>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
