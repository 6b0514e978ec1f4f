//! TCP and HTTP: a connection for each slot, all of them on one thread of their own.
//!
//! Each slot opens a socket of its own at its time, whatever became of those before it, and is settled by what
//! that socket says before the deadline, or by the deadline. The deadline is shorter than the time after which
//! the kernel sends an unanswered SYN again (`SYN_AGAIN`): a connection that a second SYN has made says
//! nothing of the guest at the time of the slot, and would hide the end of a blackout, or all of it. Should the
//! kernel have sent one sooner (a route can say so), the slot is lost as well, and that is told.
//!
//! Closed with a reset (SO_LINGER of 0): twenty connections a second would else leave 1,200 ports of this machine
//! waiting for a minute each.

mod answer;
mod attempt;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use self::attempt::{Attempt, Goal, State, Verdict};
use super::clock::Monotonic;
use super::engine::{ATTENTION, Ending, Engine, Run};
use super::error::ProbeError;
use super::options::{ProbeOptions, Source};
use super::promptness::be_prompt;
use super::schedule::Turn;
use super::socket::room_for;
use crate::event::{self, Aside, Class, Nanos};

/// Descriptors this machine must have left beside those that are open at once.
const SPARE: usize = 8;

/// The engine, before its first connection.
#[derive(Debug)]
pub struct Connect {
    target: SocketAddr,
    from: Option<Source>,
    deadline: Duration,
    refused_is_ok: bool,
    goal: Goal,
}

impl Connect {
    /// Looks whether connections can be made from there, in the caller's network namespace, and whether there are
    /// descriptors for them. None is made yet.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn open(options: &ProbeOptions) -> Result<Self, ProbeError> {
        // Checked before: the interval is not 0, and the deadline fewer than a hundred of them.
        let at_once = options.deadline.as_nanos().div_ceil(options.interval.as_nanos().max(1));
        room_for(usize::try_from(at_once).unwrap_or(usize::MAX).min(1_000) + SPARE)?;
        attempt::socket(options.target, options.from.as_ref())?;
        let goal = options.http.as_ref().map_or(Goal::Connection, Goal::page);
        let (target, from, deadline) = (options.target, options.from.clone(), options.deadline);
        Ok(Self { target, from, deadline, refused_is_ok: options.refused_is_ok, goal })
    }
}

impl Engine for Connect {
    fn kind(&self) -> event::Engine {
        event::Engine::Connections
    }

    fn cannot_see(&self) -> Vec<Class> {
        // The socket is closed at the deadline, and TCP hides what comes twice.
        vec![Class::Late, Class::Duplicate]
    }

    fn remarks(&self) -> Vec<String> {
        vec![match self.goal {
            Goal::Connection => {
                "the time is that from before connect() to the SYN-ACK, which the kernel measures; connections are \
                 closed with a reset"
                    .into()
            }
            Goal::Page { .. } => {
                "the time is that from before connect() to the first line of the answer; connections are closed with \
                 a reset"
                    .into()
            }
        }]
    }

    fn run(self: Box<Self>, run: Run) -> Ending {
        be_prompt();
        let mono = Monotonic::of(run.fates.sink().clock());
        let deadline = u64::try_from(self.deadline.as_nanos()).unwrap_or(u64::MAX);
        Loop { engine: *self, mono, deadline, run, open: Vec::new(), next: 0 }.go()
    }
}

/// The measuring loop.
struct Loop {
    engine: Connect,
    mono: Monotonic,
    /// ns.
    deadline: u64,
    run: Run,
    /// Slots under way, in the order in which they were sent.
    open: Vec<Attempt>,
    next: u64,
}

impl Loop {
    fn go(mut self) -> Ending {
        while !self.run.stop.is_set() {
            let turn = self.run.schedule.turn(self.next, self.mono.now());
            match turn {
                Turn::Send { k } => {
                    self.send(k);
                    self.next = k + 1;
                }
                Turn::Missed { through } => {
                    self.run.fates.not_sent_through(through);
                    self.next = through + 1;
                }
                Turn::Over if self.open.is_empty() => break,
                Turn::Wait { .. } | Turn::Over => {}
            }
            self.look();
        }
        self.run.fates.close();
        self.run.fates.ending()
    }

    fn send(&mut self, k: u64) {
        let Connect { target, from, .. } = &self.engine;
        let fates = &mut self.run.fates;
        let socket = attempt::socket(*target, from.as_ref());
        let sent = self.mono.now();
        fates.sent(k, sent);
        match socket {
            Err(e) => fates.failed(k, e.why()),
            Ok(socket) => match attempt::connect(&socket, *target) {
                Err(attempt::Failed::Unsent(why)) => fates.failed(k, why),
                Err(attempt::Failed::Refused) => self.settle(k, Verdict::Refused("refused".into()), sent),
                Ok(()) => {
                    let out = self.mono.now();
                    self.open.push(Attempt { k, sent, out, socket, state: State::Connecting });
                }
            },
        }
    }

    /// Waits for what comes, until the next slot is due or the oldest open one is lost, and judges it.
    fn look(&mut self) {
        let begun = self.mono.now();
        let due = match self.run.schedule.turn(self.next, begun) {
            Turn::Wait { until } => until,
            Turn::Over => Nanos::MAX,
            Turn::Send { .. } | Turn::Missed { .. } => begun,
        };
        let lost = self.open.first().map_or(Nanos::MAX, |oldest| oldest.sent.saturating_add(self.deadline));
        let until = due.min(lost).min(begun + ATTENTION.as_nanos() as u64);
        let ready = self.wait(until.saturating_sub(begun));
        let now = self.mono.now();
        for (i, mut attempt) in std::mem::take(&mut self.open).into_iter().enumerate() {
            match ready.get(i).filter(|ready| **ready).and_then(|_| attempt.look(&self.engine.goal)) {
                Some(verdict) => {
                    let at = verdict.at(&attempt, now);
                    self.settle(attempt.k, verdict, at);
                }
                None => self.open.push(attempt),
            }
        }
        // Whatever had come in before the look began has been seen.
        self.run.fates.settle(begun);
        let deadline = self.deadline;
        self.open.retain(|attempt| attempt.sent.saturating_add(deadline) > begun);
    }

    /// Which of the open sockets have something to say, after so many ns at most.
    fn wait(&self, ns: u64) -> Vec<bool> {
        let interest = |attempt: &Attempt| match attempt.state {
            State::Connecting => PollFlags::POLLOUT,
            State::Asked { .. } => PollFlags::POLLIN,
        };
        let mut fds: Vec<PollFd<'_>> =
            self.open.iter().map(|attempt| PollFd::new(attempt.socket.as_fd(), interest(attempt))).collect();
        let patience = TimeSpec::from_duration(Duration::from_nanos(ns));
        match ppoll(&mut fds, Some(patience), None) {
            Ok(n) if n > 0 => fds.iter().map(|fd| fd.any().unwrap_or(true)).collect(),
            // A signal came, or time is up: the next look tells.
            _ => Vec::new(),
        }
    }

    /// Settles slot `k` with what was seen of it at `at`, ns.
    fn settle(&mut self, k: u64, verdict: Verdict, at: Nanos) {
        let fates = &mut self.run.fates;
        match verdict {
            Verdict::Answered { .. } => fates.answered(k, at),
            Verdict::Refused(_) if self.engine.refused_is_ok => fates.answered(k, at),
            Verdict::Refused(what) => fates.refused(k, at, what),
            Verdict::Error(what) => fates.error(k, what),
            Verdict::Retransmitted => {
                fates.lost(k);
                fates.aside(Aside::Retransmitted, None, 1);
            }
            Verdict::Unreachable => {
                fates.lost(k);
                fates.aside(Aside::Unreachable, None, 1);
            }
        }
    }
}

#[cfg(test)]
pub(crate) use answer::fuzz;

#[cfg(test)]
mod tests;
