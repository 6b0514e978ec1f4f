//! One libvirt host: two shells, and what is heard of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;

use super::answer::Answer;
use super::changes::Former;
use super::config::{HostConfig, quoted};
use super::domstate::{self, Says};
use super::events::{LibvirtEvent, QemuEvent, Reader, qemu};
use super::jobinfo::{self, Said};
use super::listen::{Heard, Of, listen};
use super::shell::{Shell, Unanswered};
use crate::event::{Body, EventSink, ForeignTime, HvEvent, Level, LogEvent, Nanos};
use crate::hypervisor::HvError;
use crate::text::foreign;

/// How long a look may take. Where a migration ends, libvirt answers nothing for 1.2 to 2.2 s while it takes the
/// source's QEMU down (measured with 9.0 under emulation).
pub(super) const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// How long an order may take. A `resume` was seen to take 15 s while another job had the guest.
const ORDER_WITHIN: Duration = Duration::from_secs(30);
/// How long a host may take to be reached: ssh needs some seconds.
const REACHED_WITHIN: Duration = Duration::from_secs(8);
/// An event that waits for lines of its own is whole when none has come for so long.
const WHOLE_AFTER: Duration = Duration::from_millis(20);
/// Events of one host that wait for those who watch.
const NOTES: usize = 1024;

/// The guest, as virsh is told of it and as it is named in events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guest {
    pub(super) name: String,
    /// Its UUID where that is known: of a name that is a number virsh would make another guest's.
    pub(super) word: String,
}

/// What became known of a host.
#[derive(Debug, Clone)]
pub(super) enum Note {
    /// An event of libvirt's.
    Libvirt(Instant, Arc<LibvirtEvent>),
    /// An event of QEMU's own.
    Qemu(Instant, Arc<QemuEvent>),
    /// Something may have been missed: what it is now is to be asked for.
    Missed,
}

/// The newest state of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// It answers.
    pub(super) up: bool,
    /// libvirt's events are heard.
    pub(super) libvirt: bool,
    /// QEMU's own events are heard; None while that is not decided.
    pub(super) qemu: Option<bool>,
    /// Whether the guest runs here, by the last event; None where that is not known.
    pub(super) runs: Option<bool>,
}

/// A libvirt host. Dropped, everything that was started for it is ended.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) config: HostConfig,
    looks: Shell,
    orders: Shell,
    view: watch::Sender<View>,
    notes: broadcast::Sender<Note>,
    version: Mutex<Option<String>>,
    /// What settings had before they were first changed.
    pub(super) former: Mutex<Former>,
    sink: EventSink,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

impl Host {
    pub(super) fn new(config: HostConfig, sink: EventSink) -> Self {
        let (looks, orders) = (Shell::new(&config.uri), Shell::new(&config.uri));
        let (notes, _) = broadcast::channel(NOTES);
        let view = watch::Sender::default();
        Self {
            config,
            looks,
            orders,
            view,
            notes,
            version: Mutex::default(),
            former: Mutex::default(),
            sink,
            tasks: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    pub(super) fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    pub(super) fn notes(&self) -> broadcast::Receiver<Note> {
        self.notes.subscribe()
    }

    /// Versions of libvirt and of the hypervisor, if it has ever been reached.
    pub(super) fn version(&self) -> Option<String> {
        lock(&self.version).clone()
    }

    pub(super) fn log(&self, level: Level, text: String) {
        self.sink.emit(Body::Log(LogEvent { level, from: self.name().to_owned(), text }));
    }

    pub(super) fn tell(&self, fact: HvEvent) {
        self.sink.emit(Body::Hypervisor(fact));
    }

    /// Asks it who it is, and tells that it is there.
    pub(super) async fn reach(&self) -> Result<(), HvError> {
        let unreachable = |why: String| HvError::Unreachable { host: self.name().to_owned(), why };
        let answer =
            self.looks.ask("version --daemon", REACHED_WITHIN).await.map_err(|e| unreachable(e.to_string()))?;
        let version = version(&answer).ok_or_else(|| unreachable(answer.lost().unwrap_or_else(|| answer.said())))?;
        *lock(&self.version) = Some(version.clone());
        self.up(version);
        let asked = self.sink.clock().now();
        if self.looks.ask("hostname", REACHED_WITHIN).await.is_ok() {
            let ns = self.sink.clock().now().saturating_sub(asked);
            self.tell(HvEvent::RoundTrip { host: self.name().to_owned(), ns });
        }
        Ok(())
    }

    /// It is there, which is told if it was not before.
    fn up(&self, version: String) {
        let is_new = self.view.send_if_modified(|view| !std::mem::replace(&mut view.up, true));
        if is_new {
            self.tell(HvEvent::HostUp { host: self.name().to_owned(), version, pid: None });
        }
    }

    /// The guest of this name or UUID, if it knows it.
    pub(super) async fn know(&self, guest: &str) -> Result<Option<Guest>, String> {
        let ask =
            |command: String| async move { self.looks.ask(&command, LOOK_WITHIN).await.map_err(|e| e.to_string()) };
        let answer = ask(format!("domuuid {}", quoted(guest))).await?;
        let Some(uuid) = answer.line().filter(|line| is_uuid(line)).map(str::to_owned) else { return Ok(None) };
        let name = ask(format!("domname {uuid}")).await?.line().map(str::to_owned);
        match name {
            Some(name) if name == guest || uuid.eq_ignore_ascii_case(guest) => Ok(Some(Guest { name, word: uuid })),
            Some(name) => {
                Err(format!("virsh takes '{guest}' for the number of guest '{name}': write the UUID of yours"))
            }
            None => Ok(None),
        }
    }

    /// Begins to listen to what happens to that guest.
    pub(super) fn listen(self: &Arc<Self>, guest: &Guest, with_qemu: bool) {
        let (tx, rx) = mpsc::channel(256);
        let mut tasks = lock(&self.tasks);
        tasks.push(tokio::spawn(listen(self.config.uri.clone(), Of::Libvirt, tx.clone())).abort_handle());
        if with_qemu {
            tasks.push(tokio::spawn(listen(self.config.uri.clone(), Of::Qemu, tx)).abort_handle());
        } else {
            self.view.send_modify(|view| view.qemu = Some(false));
        }
        // Not kept alive by its own task.
        let (host, name) = (Arc::downgrade(self), guest.name.clone());
        let serve = async move {
            let (mut rx, mut reader) = (rx, Reader::new(&name));
            let mut begun = Instant::now();
            loop {
                let heard = tokio::select! {
                    heard = rx.recv() => heard,
                    () = tokio::time::sleep(WHOLE_AFTER), if reader.is_open() => {
                        let Some(host) = host.upgrade() else { return };
                        reader.finish().into_iter().for_each(|event| host.libvirt(begun, event));
                        continue;
                    }
                };
                let (Some((of, heard)), Some(host)) = (heard, host.upgrade()) else { return };
                match (of, heard) {
                    (Of::Libvirt, Heard::Line(at, line)) => {
                        if !reader.is_open() {
                            begun = at;
                        }
                        let of_before = begun;
                        let events = reader.push(&line);
                        let last = events.len().saturating_sub(1);
                        for (i, event) in events.into_iter().enumerate() {
                            // One that waited for its lines began with its first.
                            host.libvirt(
                                if i < last || matches!(event, LibvirtEvent::Completed(_)) { of_before } else { at },
                                event,
                            );
                        }
                        if reader.is_open() && line.contains("event '") {
                            begun = at;
                        }
                    }
                    (Of::Qemu, Heard::Line(at, line)) => {
                        if let Some(event) = qemu(&line, &name) {
                            host.qemu(at, event);
                        }
                    }
                    (of, other) => host.listening(of, other),
                }
            }
        };
        tasks.push(tokio::spawn(serve).abort_handle());
    }

    /// Waits until it is decided what is heard of it.
    pub(super) async fn settled(&self, within: Duration) {
        let mut view = self.view.subscribe();
        let decided = view.wait_for(|view| view.libvirt && view.qemu.is_some());
        let _ = tokio::time::timeout(within, decided).await;
    }

    fn listening(&self, of: Of, heard: Heard) {
        match (of, heard) {
            (Of::Libvirt, Heard::Up) => {
                self.view.send_modify(|view| (view.libvirt, view.runs) = (true, None));
                self.up(self.version().unwrap_or_else(|| "libvirt".into()));
                let _ = self.notes.send(Note::Missed);
            }
            (Of::Qemu, Heard::Up) => self.view.send_modify(|view| view.qemu = Some(true)),
            (Of::Libvirt, Heard::Down { why, .. }) => {
                let was = self.view.borrow().clone();
                self.view.send_modify(|view| (view.libvirt, view.up, view.runs) = (false, false, None));
                if was.up {
                    let why = foreign(&format!("its events have ended: {why}"));
                    self.tell(HvEvent::HostLost { host: self.name().to_owned(), why });
                }
                let _ = self.notes.send(Note::Missed);
            }
            (Of::Qemu, Heard::Down { why, for_good }) => {
                if self.view.borrow().qemu != Some(false) && for_good {
                    self.log(
                        Level::Info,
                        format!("it does not tell QEMU's own events, so libvirt's count: {}", foreign(&why)),
                    );
                }
                self.view.send_modify(|view| view.qemu = Some(false));
            }
            (_, Heard::Flood) => {
                self.log(Level::Warn, "it tells more events than are taken; some are passed over".into());
                let _ = self.notes.send(Note::Missed);
            }
            (_, Heard::Line(..)) => {}
        }
    }

    fn t(&self, at: Instant) -> Nanos {
        self.sink.clock().at(at)
    }

    fn libvirt(&self, at: Instant, event: LibvirtEvent) {
        let (t, host) = (self.t(at), || self.name().to_owned());
        let emit = |fact| self.sink.emit_at(t, Body::Hypervisor(fact));
        emit(HvEvent::Raw { host: host(), name: event.name().to_owned(), at: None, data: event.data() });
        if let Some(what) = event.incident() {
            let detail = event.data().as_str().map(foreign).unwrap_or_default();
            emit(HvEvent::Befell { host: host(), what, detail, at: None });
        }
        if let Some(runs) = runs(&event) {
            let before = self.view.borrow().clone();
            self.view.send_modify(|view| view.runs = Some(runs));
            // A guest that is being taken in, or is gone, was not stopped here.
            let is_told = before.qemu != Some(true) && before.runs != Some(runs);
            if is_told && matches!(&event, LibvirtEvent::Life { what, .. } if what == "Suspended" || what == "Resumed")
            {
                self.ran(t, runs, None);
            }
        }
        let _ = self.notes.send(Note::Libvirt(at, Arc::new(event)));
    }

    fn qemu(&self, at: Instant, event: QemuEvent) {
        let t = self.t(at);
        let (host, name) = (self.name().to_owned(), event.name.clone());
        let raw = HvEvent::Raw { host, name, at: event.at, data: event.data.clone() };
        self.sink.emit_at(t, Body::Hypervisor(raw));
        if let "STOP" | "RESUME" = event.name.as_str() {
            let runs = event.name == "RESUME";
            self.view.send_modify(|view| view.runs = Some(runs));
            self.ran(t, runs, event.at);
        }
        let _ = self.notes.send(Note::Qemu(at, Arc::new(event)));
    }

    fn ran(&self, t: Nanos, runs: bool, at: Option<ForeignTime>) {
        let host = self.name().to_owned();
        let fact = if runs { HvEvent::Resumed { host, at } } else { HvEvent::Stopped { host, at } };
        self.sink.emit_at(t, Body::Hypervisor(fact));
    }

    /// Where the guest is, by this host. Returns within [`LOOK_WITHIN`].
    pub(super) async fn state(&self, guest: &Guest) -> Says {
        let answer = self.looks.ask(&format!("domstate {} --reason", guest.word), LOOK_WITHIN).await;
        domstate::read(&answer.map_err(|e| e.to_string())?)
    }

    /// What job the guest has here. Returns within [`LOOK_WITHIN`].
    pub(super) async fn job(&self, guest: &Guest) -> Said {
        match self.looks.ask(&format!("domjobinfo {} --rawstats", guest.word), LOOK_WITHIN).await {
            Ok(answer) => jobinfo::read(&answer),
            Err(e) => Said::Blind(e.to_string()),
        }
    }

    /// The figures of the last job that is over, which stay there for others.
    pub(super) async fn completed(&self, guest: &Guest) -> Option<jobinfo::Job> {
        let command = format!("domjobinfo {} --completed --keep-completed --rawstats", guest.word);
        match jobinfo::read(&self.looks.ask(&command, LOOK_WITHIN).await.ok()?) {
            Said::Job(job) if job.kind == jobinfo::Kind::Completed => Some(job),
            _ => None,
        }
    }

    /// Gives an order; `what` is it in words.
    pub(super) async fn order(&self, command: &str, what: &str) -> Result<Answer, HvError> {
        let (host, what) = (self.name().to_owned(), what.to_owned());
        let answer = match self.orders.ask(command, ORDER_WITHIN).await {
            Ok(answer) => answer,
            Err(Unanswered::Silent(within)) => return Err(HvError::Silent { host, what, seconds: within.as_secs() }),
            Err(Unanswered::NotRun(e)) => return Err(HvError::Unreachable { host, why: e.to_string() }),
            Err(Unanswered::Ended(why)) => return Err(HvError::Lost { host, why }),
        };
        match (answer.lost(), answer.errors().first()) {
            (Some(why), _) => Err(HvError::Lost { host, why }),
            (None, Some(_)) => Err(HvError::Refused { host, what, why: answer.errors().join(": ") }),
            (None, None) => Ok(answer),
        }
    }

    fn end_tasks(&self) {
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
    }

    /// Ends everything that was started for it.
    pub(super) async fn close(&self) {
        self.end_tasks();
        tokio::join!(self.looks.close(), self.orders.close());
    }
}

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the guest runs at a host after this event there; None if it says nothing of that.
fn runs(event: &LibvirtEvent) -> Option<bool> {
    let LibvirtEvent::Life { what, how } = event else { return None };
    match (what.as_str(), how.as_str()) {
        ("Started", "Migrated") => Some(false),
        ("Started" | "Resumed", _) => Some(true),
        // Told beside "Suspended Migrated".
        ("Suspended", "Post-copy" | "Post-copy Error") => None,
        ("Suspended" | "Stopped" | "Crashed", _) => Some(false),
        _ => None,
    }
}

/// `libvirt 9.0.0, QEMU 10.0.2` of an answer to `version --daemon`.
fn version(answer: &Answer) -> Option<String> {
    let of = |what: &str| answer.lines().find_map(|line| line.strip_prefix(what)).map(|v| foreign(v.trim()));
    let library = of("Running against daemon:").map(|v| format!("libvirt {v}")).or_else(|| of("Using library:"))?;
    Some(match of("Running hypervisor:") {
        Some(hypervisor) => format!("{library}, {hypervisor}"),
        None => library,
    })
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_it_is() {
        let text = "Compiled against library: libvirt 9.0.0\nUsing library: libvirt 9.0.0\nUsing API: QEMU 9.0.0\n\
                    Running hypervisor: QEMU 10.0.2\nRunning against daemon: 9.0.0";
        let answer = Answer::new(text.lines().map(str::to_owned).collect(), "version --daemon");
        assert_eq!(version(&answer).unwrap(), "libvirt 9.0.0, QEMU 10.0.2");
        assert_eq!(version(&Answer::default()), None);
        assert!(is_uuid("352ba3d2-06fe-419e-9af7-b4939ee13aff") && !is_uuid("352ba3d2x06fe-419e-9af7-b4939ee13aff"));
    }

    #[test]
    fn what_an_event_says_of_the_guest_at_its_host() {
        let life = |what: &str, how: &str| runs(&LibvirtEvent::Life { what: what.into(), how: how.into() });
        assert_eq!(life("Started", "Migrated"), Some(false), "it is being taken in");
        assert_eq!(life("Resumed", "Post-copy"), Some(true));
        assert_eq!(life("Suspended", "Migrated"), Some(false));
        assert_eq!(life("Suspended", "Post-copy"), None);
        assert_eq!(life("Defined", "Updated"), None);
    }
}
