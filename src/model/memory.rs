//! What an engine has to do: keep the pages that are to be sent, and the log of those dirtied.

/// Numbers of pages, by what has to be sent for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Pages with content.
    pub(super) used: u64,
    /// Pages that were never touched.
    pub(super) untouched: u64,
}

impl Count {
    pub(super) fn all(self) -> u64 {
        self.used + self.untouched
    }
}

/// What goes over the link for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Price {
    /// For one with content, bytes.
    pub(super) used: u64,
    /// For one that was never touched, bytes.
    pub(super) untouched: u64,
}

impl Price {
    pub(super) fn of(self, pages: Count) -> u64 {
        pages.used * self.used + pages.untouched * self.untouched
    }
}

/// How much may be sent in one go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    pub(super) pages: u64,
    pub(super) bytes: u64,
}

/// What one go has sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) pages: Count,
    /// Pages left out because they are dirty again.
    pub(super) skipped: u64,
    /// Nothing is to be sent any more between here and the end of memory.
    pub(super) at_end: bool,
}

/// The memory of the guest as its hypervisor keeps track of it.
///
/// Pages of the `untouched` range were never touched (and are never written), all others have content.
pub(super) trait Memory {
    /// Memory of `ram` pages, all of which are to be sent, or only those that have content.
    fn new(ram: u64, untouched: (u64, u64), all: bool, price: Price) -> Self;

    /// The guest writes these pages: they are in the log.
    fn write(&mut self, from: u64, to: u64);

    /// The log is added to what is to be sent, and begins anew.
    fn sync(&mut self);

    /// What is to be sent as far as the hypervisor knows (without the log).
    fn to_send(&self) -> Count;

    /// Goes on from the cursor towards the end of memory and sends what is to be sent, as much as
    /// the budget allows. With `skip`, pages in the log are left out: they need not be sent now, for
    /// the log will bring them again.
    fn send(&mut self, budget: Budget, skip: bool) -> Sent;

    /// Back to the beginning of memory.
    fn rewind(&mut self);

    /// Sends this page out of its turn; whether it was to be sent at all.
    fn fetch(&mut self, page: u64) -> bool;
}
