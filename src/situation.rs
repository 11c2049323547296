//! Situations that a batch of simulations must have met: a test that never gets there proves
//! nothing about them.
//!
//! Machines are counted only in builds with the feature `mutants`; everywhere else
//! [`sometimes!`](crate::sometimes) is nothing.

/// Something that happens sometimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
pub enum Situation {
    /// A publication was sent again, and the store knew it (PUB-2).
    PublicationKnown,
    /// A publication came whose predecessors were missing (PUB-2).
    GapAnswered,
    /// A publication was put off (BRK-5).
    RetryLaterAnswered,
    /// A node was told of another history (RUM-10).
    ForkSeen,
    /// Lines that the feed did not have were read from the store (BRK-2).
    ReplayedFromStore,
    /// A node shook hands anew, because its link was silent (LIF-2).
    ShookHandsAnew,
    /// An account ceased to be present by time-out (PRS-1).
    TimedOut,
    /// A new path proved itself (PTH-3).
    PathProved,
    /// A path did not answer in time (PTH-5).
    PathGivenUp,
    /// The newest packet came over the old path again (PTH-5).
    PathRumourEnded,
    /// A connection id was retired (CID-2).
    CidRetired,
    /// A piece came that had come already (CHN-1).
    DuplicatePiece,
    /// A piece was taken for lost (LOSS-2).
    PieceLost,
    /// A datagram was dropped that failed authentication (KEY-4).
    CorruptedDropped,
    /// A datagram was dropped that had been seen before (KEY-2).
    ReplayDropped,
    /// A handshake datagram was dropped for its CRC (HSD-1).
    CrcDropped,
    /// A feed let go of its oldest item (LIM-5).
    FeedEvicted,
    /// A half-open handshake made room for a newer one (SEC-6).
    HalfOpenMadeRoom,
    /// A broker asked for a cookie (ADR-3).
    CookieAsked,
    /// A node sent one (ADR-4).
    CookieSent,
    /// A message had to wait for credit (CRD-2).
    CreditBlocked,
    /// A broker was killed while its store had something to do (DLV-6).
    KilledWhileStoring,
    /// A node started from a journal in which something waited (JRN-1).
    OutboxRestored,
    /// A node was told that its link is gone (RST-4).
    LinkReset,
    /// A device was given up (JRN-4).
    DeviceRetired,
    /// A node got another address while something of its waited (PTH-6).
    RoamedWhileUnacked,
    /// A publication that was stored before a crash was sent again after it (PUB-2).
    RepeatedAfterRecovery,
    /// A member did not keep up (BRK-9).
    MemberLagging,
    /// And caught up (BRK-9).
    MemberReplaying,
    /// Somebody who did not make a room tried to set its policy (RUM-16).
    PolicyRefused,
    /// A member was not let see what was said before it came (RUM-16).
    HistoryWithheld,
    /// A page of earlier lines was told to its end (HST-2).
    PageEnded,
    /// A node was told who is present (RUM-13).
    RosterTold,
    /// Somebody came into a room and was not present (RUM-14).
    QuietlyThere,
    /// A node was told that everybody has a line of its own (STA-3).
    DeliveredToAll,
    /// A node was told that its machine was suspended (LIF-6).
    NodeResumed,
    /// A node stood still while its clock went on.
    NodeStopped,
    /// A broker stood still.
    BrokerStopped,
    /// A wall clock was set wrong, or right again (RUM-4, PRS-3).
    WallClockJumped,
    /// A monotonic clock went faster or slower than the others.
    ClockDrifted,
    /// A store had no room for something, and then had (STO-8).
    DiskFull,
    /// A journal waited for room (JRN-5).
    JournalFull,
    /// A datagram came again in a later life of either side (KEY-2, SEC-6).
    ReplayedAcrossLives,
    /// A node was told that lines are withheld from it (RUM-17).
    LinesSkipped,
    /// A member that keeps to no rule sent something (THR-11).
    MemberAttacked,
    /// What was typed meanwhile, when nothing else went wrong, was shown to somebody soon (THR-11).
    ShownWhileAttacked,
    /// A broker took an acknowledgement of what cannot have come (ACK-3).
    SureLieTaken,
    /// A broker lied to a node (THR-15).
    BrokerLied,
    /// And the node ended for it, or because it was told to (LIF-4).
    VictimEnded,
    /// A device came into a room in which another one of its account was (DEV-9).
    DevicesInOneRoom,
    /// What waited at a device was refused, because another one had left the room (DEV-9, PUB-10).
    TakenOutByOwnDevice,
    /// A device was linked with a code (DEV-5).
    DeviceLinked,
    /// A device was revoked (DEV-8).
    DeviceRevoked,
    /// A node was told that its device is revoked while something of its waited (DEV-6, DEV-8).
    RevokedWhileWaiting,
}

impl Situation {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every situation.
    pub const ALL: [Self; 54] = [
        Self::PublicationKnown,
        Self::GapAnswered,
        Self::RetryLaterAnswered,
        Self::ForkSeen,
        Self::ReplayedFromStore,
        Self::ShookHandsAnew,
        Self::TimedOut,
        Self::PathProved,
        Self::PathGivenUp,
        Self::PathRumourEnded,
        Self::CidRetired,
        Self::DuplicatePiece,
        Self::PieceLost,
        Self::CorruptedDropped,
        Self::ReplayDropped,
        Self::CrcDropped,
        Self::FeedEvicted,
        Self::HalfOpenMadeRoom,
        Self::CookieAsked,
        Self::CookieSent,
        Self::CreditBlocked,
        Self::KilledWhileStoring,
        Self::OutboxRestored,
        Self::LinkReset,
        Self::DeviceRetired,
        Self::RoamedWhileUnacked,
        Self::RepeatedAfterRecovery,
        Self::MemberLagging,
        Self::MemberReplaying,
        Self::PolicyRefused,
        Self::HistoryWithheld,
        Self::PageEnded,
        Self::RosterTold,
        Self::QuietlyThere,
        Self::DeliveredToAll,
        Self::NodeResumed,
        Self::NodeStopped,
        Self::BrokerStopped,
        Self::WallClockJumped,
        Self::ClockDrifted,
        Self::DiskFull,
        Self::JournalFull,
        Self::ReplayedAcrossLives,
        Self::LinesSkipped,
        Self::MemberAttacked,
        Self::ShownWhileAttacked,
        Self::SureLieTaken,
        Self::BrokerLied,
        Self::VictimEnded,
        Self::DevicesInOneRoom,
        Self::TakenOutByOwnDevice,
        Self::DeviceLinked,
        Self::DeviceRevoked,
        Self::RevokedWhileWaiting,
    ];
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static MET: core::cell::Cell<[u64; Situation::COUNT]> =
        const { core::cell::Cell::new([0; Situation::COUNT]) };
}

/// Counts a situation, for this thread.
#[cfg(feature = "mutants")]
pub fn meet(situation: Situation) {
    let mut met = MET.get();
    met[situation as usize] += 1;
    MET.set(met);
}

/// How often each was met on this thread since the last call of [`take`], in the order of
/// [`Situation::ALL`].
#[cfg(feature = "mutants")]
#[must_use]
pub fn met() -> [u64; Situation::COUNT] {
    MET.get()
}

/// How often each was met on this thread since the last call, in the order of [`Situation::ALL`].
#[cfg(feature = "mutants")]
#[must_use]
pub fn take() -> [u64; Situation::COUNT] {
    MET.replace([0; Situation::COUNT])
}

/// `sometimes!(ForkSeen)`: that situation is met; nothing at all without the feature.
#[macro_export]
#[doc(hidden)]
macro_rules! sometimes {
    ($situation:ident) => {
        #[cfg(feature = "mutants")]
        $crate::situation::meet($crate::situation::Situation::$situation);
    };
}
