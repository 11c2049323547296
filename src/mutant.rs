//! Deliberate faults, to prove that the simulation's checkers catch real ones.
//!
//! A machine carries a [`Mutant`] switch only in builds with the feature `mutants`; everywhere
//! else [`bug!`](crate::bug) is the constant `false`. A build without debug assertions refuses the
//! feature, so that no feature unification can put a fault into a program that people run.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("the feature `mutants` is for simulations: it needs a build with debug assertions");

/// A deliberate fault. The name says what the mutant fails to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mutant {
    /// The store takes a publication that it already holds for a new one.
    NoDedup = 1,
    /// The store takes a publication whose predecessors are missing.
    NoGapCheck,
    /// A channel hands over messages in the order of arrival.
    NoReorderBuffer,
    /// A datagram that fails authentication is taken all the same.
    NoAeadCheck,
    /// Lost messages are not sent again.
    GiveUpRetransmitting,
    /// A driver tells its owner only the first of the events that it has at a time.
    DropSecondEvent,
    /// A driver hands only the first, the third and so on of a batch of datagrams to its machine.
    DropSecondDatagram,
    /// A link follows the newest packet to whatever address it came from, and asks nobody (PTH-3).
    NoPathCheck,
    /// A broker does not notice that an account which it expects back has come (PRS-1).
    ForgetReturn,
    /// A store answers one request before it has made durable what the last one wrote (BRK-1).
    AnswerBeforeSync,
    /// A store that is opened again lacks the last line that it had (DLV-6).
    LoseTail,
    /// A store that is opened again no longer knows which publications it holds (PUB-2).
    ForgetPublications,
    /// A broker calls a publication stored when it asks its store (BRK-1, DLV-6).
    AckBeforeSync,
    /// A broker shows a line to the room when it asks its store (BRK-1).
    DeliverBeforeSync,
    /// A device that signs in anew keeps its older session, too (SGN-4).
    GhostSession,
    /// Who resumes gets what follows, and not what was said meanwhile (RUM-9).
    SeamHole,
    /// A line that comes while a member catches up moves its place (BRK-2).
    CursorPoisoned,
    /// An acknowledgement covers what has not come, between what has (ACK-1).
    StaleAck,
    /// A handshake datagram is taken whatever its CRC says (HSD-1).
    NoCrc,
    /// What a member is to get is queued for it, however little it takes (BRK-9, CHN-4).
    UnboundedQueue,
    /// A store takes any resume for one of its own history (RUM-10).
    ForgetFork,
    /// A node does not notice that its device is used elsewhere, or was (JRN-4).
    KeepDevice,
    /// A store lets every member read everything, whatever the room's policy is (RUM-16).
    EntitlementIgnored,
    /// A broker goes on listing who has gone (RUM-13).
    ForgetDeparture,
    /// A node reports lines that its journal does not have yet (STA-1).
    ReportBeforeJournal,
    /// A broker takes a report for all that came before it, the holes included (STA-1).
    HoleReported,
    /// A broker does not ask whether an account vouches for a device (SEC-3).
    NoCertificateCheck,
    /// A log hands out lines that are not what was stored (STO-7).
    NoHashCheck,
    /// A node goes on wherever its broker says that it is (RUM-17).
    AnyPlace,
    /// A node shows lines in whatever order they come (RUM-8).
    NoTurnCheck,
    /// A node shows whatever comes as the page that it asked for (HST-1).
    EndlessPages,
    /// A broker answers a handshake datagram more than once (HSD-8).
    Amplify,
    /// A link takes an acknowledgement of what it has not sent (ACK-3).
    BelieveUnsent,
    /// A link takes an acknowledgement of what it has left out (ACK-3).
    BelieveSkipped,
    /// A broker lets any number of one member's publications wait for its store (PUB-8).
    EndlessPublishing,
    /// A broker goes on serving a device that is revoked (DEV-8).
    KeepRevoked,
    /// A broker shows only one of an account's devices out of a room that it has left (DEV-9).
    KeepOtherDevice,
}

impl Mutant {
    /// Every mutant that a simulation of a drawn plan finds. (The others the fuzzer's corpora
    /// do.)
    pub const ALL: [Self; 35] = [
        Self::NoDedup,
        Self::NoGapCheck,
        Self::NoReorderBuffer,
        Self::NoAeadCheck,
        Self::GiveUpRetransmitting,
        Self::DropSecondEvent,
        Self::DropSecondDatagram,
        Self::NoPathCheck,
        Self::ForgetReturn,
        Self::AnswerBeforeSync,
        Self::LoseTail,
        Self::ForgetPublications,
        Self::AckBeforeSync,
        Self::DeliverBeforeSync,
        Self::GhostSession,
        Self::SeamHole,
        Self::CursorPoisoned,
        Self::StaleAck,
        Self::NoCrc,
        Self::UnboundedQueue,
        Self::ForgetFork,
        Self::KeepDevice,
        Self::EntitlementIgnored,
        Self::ForgetDeparture,
        Self::ReportBeforeJournal,
        Self::HoleReported,
        Self::AnyPlace,
        Self::NoTurnCheck,
        Self::EndlessPages,
        Self::Amplify,
        Self::BelieveUnsent,
        Self::BelieveSkipped,
        Self::EndlessPublishing,
        Self::KeepRevoked,
        Self::KeepOtherDevice,
    ];
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static ACTIVE: core::cell::Cell<Option<Mutant>> = const { core::cell::Cell::new(None) };
}

/// Switches one fault on, for the machines driven from this thread, or all off.
#[cfg(feature = "mutants")]
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Whether `mutant` is switched on for this thread, or for the whole process by [`VARIABLE`].
#[cfg(feature = "mutants")]
#[must_use]
pub fn is_active(mutant: Mutant) -> bool {
    static OF_PROCESS: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let of_process = OF_PROCESS.get_or_init(|| std::env::var(VARIABLE).ok());
    ACTIVE.get() == Some(mutant)
        || of_process
            .as_ref()
            .is_some_and(|name| *name == format!("{mutant:?}"))
}

/// The environment variable that names the fault of a whole process: so that the programs
/// themselves can be seen to fail (`chat-node demo`).
#[cfg(feature = "mutants")]
pub const VARIABLE: &str = "CHAT_MUTANT";

/// `bug!(NoDedup)`: whether that deliberate fault is on; constant `false` without the feature.
#[macro_export]
#[doc(hidden)]
macro_rules! bug {
    ($mutant:ident) => {{
        #[cfg(feature = "mutants")]
        let on = $crate::mutant::is_active($crate::mutant::Mutant::$mutant);
        #[cfg(not(feature = "mutants"))]
        let on = false;
        on
    }};
}

#[cfg(all(test, feature = "mutants"))]
mod tests {
    use super::*;

    #[test]
    fn one_mutant_is_on_at_a_time() {
        activate(Some(Mutant::NoDedup));
        assert!(bug!(NoDedup));
        assert!(!bug!(NoGapCheck));
        activate(None);
        assert!(!bug!(NoDedup));
    }
}
