//! One QEMU we are connected to: a connection for commands, one for events.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;

use super::bounds::{Budget, Fold, SAMPLE_LIMIT, fits, slim};
use super::client::{Client, QmpError, QmpEvent, Unread};
use super::endpoint::{Endpoint, HostSpec};
use super::former::{Former, give_back};
use super::guardian::Handle;
use super::negotiate::Offer;
use super::status::incident;
use crate::event::{Body, Capabilities, EventSink, HvEvent, Level, LogEvent};
use crate::hypervisor::{HvError, Side};

/// How long a monitor has to answer while we connect.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long a process whose monitors are gone may take to be gone itself.
const DYING: Duration = Duration::from_millis(500);

/// What became known of a host.
#[derive(Debug, Clone)]
pub(super) enum Note {
    /// It sent an event.
    Event(Arc<QmpEvent>),
    /// It said more than is kept: what it is now is to be asked for.
    Missed,
    /// It is gone; the view says why.
    Lost,
}

/// The newest state of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostView {
    /// Whether the guest runs here.
    pub running: Option<bool>,
    /// Why the host is gone, if it is.
    pub lost: Option<String>,
}

/// What is remembered of a host.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The host is ours: nothing has to be put back.
    pub(super) ours: bool,
    pub(super) former: Former,
    /// Who puts it back should we die.
    pub(super) guardian: Option<(Handle, Side)>,
}

/// A QEMU we are connected to. It stays connected between migrations; dropping it disconnects.
///
/// All its events go to the event stream as they come, migration or not: [`HvEvent::Raw`] with
/// QEMU's own time stamp, and [`HvEvent::Stopped`] and [`HvEvent::Resumed`] beside it.
pub struct QmpHost {
    spec: HostSpec,
    version: String,
    control: Client,
    view: watch::Sender<HostView>,
    notes: broadcast::Sender<Note>,
    sink: EventSink,
    /// What was told last of what it offers.
    offers: Mutex<Option<Capabilities>>,
    /// Whoever started its process tells of its end.
    kept: Arc<AtomicBool>,
    /// What was changed here, and is to be put back.
    ledger: Mutex<Ledger>,
    /// What may still be kept of what it says.
    budget: Arc<Mutex<Budget>>,
    task: AbortHandle,
}

impl fmt::Debug for QmpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QmpHost").field("spec", &self.spec).field("view", &*self.view.borrow()).finish_non_exhaustive()
    }
}

impl Drop for QmpHost {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl QmpHost {
    /// Connects to a QEMU and tells the event stream that it is there.
    ///
    /// # Errors
    /// When one of its monitors cannot be used; the message says why.
    pub async fn connect(spec: HostSpec, sink: EventSink) -> Result<Self, HvError> {
        let name = spec.name.clone();
        let unreachable = |e: QmpError| HvError::Unreachable { host: name.clone(), why: e.to_string() };
        let view = watch::Sender::new(HostView::default());
        let (notes, _) = broadcast::channel(1024);
        let own = spec.events.is_some();
        let (control, greeting, from_control) =
            Client::connect(&spec.control, CONNECT_PATIENCE, !own).await.map_err(unreachable)?;
        let (listener, events) = match &spec.events {
            Some(endpoint) => {
                let (c, _, rx) = Client::connect(endpoint, CONNECT_PATIENCE, true).await.map_err(unreachable)?;
                (Some(c), rx)
            }
            None => (None, from_control),
        };
        let version = greeting.version();
        let mut spec = spec;
        spec.pid = spec.pid.or_else(|| control.peer_pid().filter(|pid| is_qemu(*pid)));
        let up = HvEvent::HostUp { host: spec.name.clone(), version: version.clone(), pid: spec.pid };
        sink.emit(Body::Hypervisor(up));
        let asked = sink.clock().now();
        let status =
            control.execute_within("query-status", Value::Null, CONNECT_PATIENCE).await.map_err(unreachable)?;
        let round_trip = HvEvent::RoundTrip { host: spec.name.clone(), ns: sink.clock().now().saturating_sub(asked) };
        sink.emit(Body::Hypervisor(round_trip));
        view.send_modify(|v| v.running = status["running"].as_bool());
        // The listener starts here, so STOP and RESUME that waited in its queue correct the answer.
        let kept = Arc::new(AtomicBool::new(false));
        let budget = Arc::new(Mutex::new(Budget::default()));
        let unread = [Some(&control), listener.as_ref()].map(|c| c.map(Client::unread));
        let listening = Listening {
            name: spec.name.clone(),
            pid: spec.pid,
            kept: Arc::clone(&kept),
            sink: sink.clone(),
            view: view.clone(),
            notes: notes.clone(),
            budget: Arc::clone(&budget),
            missed: 0,
            fold_missed: Fold::default(),
            fold_unread: Fold::default(),
        };
        let closed = control.closed();
        let task = tokio::spawn(listening.run(events, listener, closed, unread)).abort_handle();
        Ok(Self {
            spec,
            version,
            control,
            view,
            notes,
            sink,
            offers: Mutex::default(),
            kept,
            ledger: Mutex::default(),
            budget,
            task,
        })
    }

    /// Somebody else tells the stream when its process ends, and knows more of it: then the loss of
    /// its monitors is no fact of its own.
    pub fn leave_its_end_to_others(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Tells what it offers, unless that was told before.
    pub(super) fn told(&self, offers: Capabilities, say: impl FnOnce(String, Capabilities) -> Body) {
        let mut told = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != Some(&offers) {
            *told = Some(offers.clone());
            self.sink.emit(say(self.spec.name.clone(), offers));
        }
    }

    pub(super) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it answered if that may be kept, else a marker; and whether it is all of it.
    pub(super) fn kept(&self, answer: Value) -> (Value, bool) {
        let fit = fits(&answer, SAMPLE_LIMIT);
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, allowed) = budget.keep(slim(answer, SAMPLE_LIMIT));
        (kept, fit && allowed)
    }

    pub(super) fn sink(&self) -> &EventSink {
        &self.sink
    }

    pub(super) async fn give_back(&self, former: &Former) -> Result<(), HvError> {
        give_back(&self.control, former).await.map_err(|e| self.explain(e))
    }

    /// Whether its process is known to have ended.
    pub(super) fn has_ended(&self) -> bool {
        match self.spec.pid {
            Some(pid) => !std::path::Path::new(&format!("/proc/{pid}")).exists(),
            // The kernel closes a UNIX connection only at the death of its other end.
            None => self.view.borrow().lost.is_some() && matches!(self.spec.control, Endpoint::Unix(_)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn spec(&self) -> &HostSpec {
        &self.spec
    }

    /// Our name for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Product and version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The newest state, to be watched.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<HostView> {
        self.view.subscribe()
    }

    pub(super) fn notes(&self) -> broadcast::Receiver<Note> {
        self.notes.subscribe()
    }

    /// Gives a QMP command. `arguments` is an object, or null.
    ///
    /// # Errors
    /// When QEMU refuses, is gone or does not answer.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, HvError> {
        self.control.execute(command, arguments).await.map_err(|e| self.explain(e))
    }

    /// The same, with less patience.
    pub(super) async fn execute_within(
        &self,
        command: &str,
        arguments: Value,
        patience: Duration,
    ) -> Result<Value, HvError> {
        self.control.execute_within(command, arguments, patience).await.map_err(|e| self.explain(e))
    }

    /// What it offers.
    pub(super) async fn offer(&self) -> Result<Offer, HvError> {
        let capabilities = self.execute("query-migrate-capabilities", Value::Null).await?;
        let parameters = self.execute("query-migrate-parameters", Value::Null).await?;
        Ok(Offer::of(self.name(), &capabilities, parameters))
    }

    /// The guest was found to run here by asking, whatever was told by event.
    pub(super) fn seen_running(&self) {
        self.view.send_if_modified(|v| {
            let new = v.lost.is_none() && v.running != Some(true);
            if new {
                v.running = Some(true);
            }
            new
        });
    }

    pub(super) fn explain(&self, e: QmpError) -> HvError {
        let host = self.spec.name.clone();
        match e {
            QmpError::Refused { command, desc, .. } => {
                HvError::Refused { host, what: format!("'{command}'"), why: desc }
            }
            QmpError::Silent { command, seconds, .. } => {
                HvError::Silent { host, what: format!("'{command}'"), seconds }
            }
            QmpError::Closed { why, .. } => HvError::Lost { host, why },
            QmpError::Unread { command, why, .. } => HvError::Unread { host, what: format!("'{command}'"), why },
            other => HvError::Unreachable { host, why: other.to_string() },
        }
    }
}

/// Whether this process is a QEMU: a monitor's socket may have been opened by somebody else on its
/// behalf.
fn is_qemu(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.contains("qemu") || comm.contains("kvm"))
}

/// What the listening task holds; nothing of it keeps the host alive.
struct Listening {
    name: String,
    pid: Option<u32>,
    kept: Arc<AtomicBool>,
    sink: EventSink,
    view: watch::Sender<HostView>,
    notes: broadcast::Sender<Note>,
    budget: Arc<Mutex<Budget>>,
    /// Events not kept that the watchers were not yet told of.
    missed: u64,
    fold_missed: Fold,
    fold_unread: Fold,
}

/// How soon watchers are told that events were not kept, and remarks are looked after.
const MISSED_WITHIN: Duration = Duration::from_millis(100);

impl Listening {
    /// Tells every event until one of the two connections ends.
    async fn run(
        mut self,
        events: Option<mpsc::Receiver<QmpEvent>>,
        listener: Option<Client>,
        mut control_closed: watch::Receiver<Option<QmpError>>,
        unread: [Option<watch::Receiver<Unread>>; 2],
    ) {
        let mut unread = unread.map(|rx| rx.map(|rx| (0, rx)));
        let mut look_after = tokio::time::interval(MISSED_WITHIN);
        look_after.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut events = events;
        let mut events_closed = listener.as_ref().map_or_else(|| control_closed.clone(), Client::closed);
        if let Some(rx) = &mut events {
            loop {
                tokio::select! {
                    // Events first: what QEMU said before it ended is told before its end.
                    biased;
                    _ = look_after.tick() => self.look_after(&mut unread),
                    event = rx.recv() => match event {
                        Some(event) => self.tell(event),
                        None => break,
                    },
                    () = async { let _ = control_closed.wait_for(Option::is_some).await; } => {
                        // The other connection ends in the same moment; what it still holds is told.
                        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(100), rx.recv()).await {
                            self.tell(event);
                        }
                        break;
                    }
                }
            }
        }
        self.look_after(&mut unread);
        let mut reason = None;
        for rx in [&mut events_closed, &mut control_closed] {
            if reason.is_none() {
                reason = rx.borrow_and_update().clone();
            }
        }
        let why = match reason {
            Some(QmpError::Closed { why, .. }) => why,
            Some(other) => other.to_string(),
            None => "its monitor ended".to_owned(),
        };
        self.view.send_modify(|v| {
            v.running = None;
            v.lost = Some(why.clone());
        });
        let _ = self.notes.send(Note::Lost);
        if !self.kept.load(Ordering::Relaxed) || !self.ends().await {
            self.sink.emit(Body::Hypervisor(HvEvent::HostLost { host: self.name.clone(), why }));
        }
    }

    /// Whether its process ends, now or in a moment.
    async fn ends(&self) -> bool {
        let Some(pid) = self.pid else { return false };
        let gone = async {
            while std::path::Path::new(&format!("/proc/{pid}")).exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DYING, gone).await.is_ok()
    }

    /// Tells what was not kept or could not be read since the last time.
    fn look_after(&mut self, unread: &mut [Option<(u64, watch::Receiver<Unread>)>; 2]) {
        let (sink, from) = (self.sink.clone(), self.name.clone());
        let remark = |text: Option<String>| {
            if let Some(text) = text {
                sink.emit(Body::Log(LogEvent { level: Level::Warn, from: from.clone(), text }));
            }
        };
        for (seen, rx) in unread.iter_mut().flatten() {
            let now = rx.borrow_and_update().clone();
            let more = now.count - std::mem::replace(seen, now.count);
            let text = || format!("a message of its that cannot be read was skipped: {}", now.last);
            remark(self.fold_unread.say(more, text));
        }
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            let _ = self.notes.send(Note::Missed);
        }
        let text = || "it sends more events than can be kept; some are not recorded".to_owned();
        remark(self.fold_missed.say(missed, text));
    }

    fn tell(&mut self, event: QmpEvent) {
        let t = self.sink.clock().at(event.received);
        if !self.budget.lock().unwrap_or_else(PoisonError::into_inner).allows(&event.data) {
            self.missed += 1;
            // Where the guest is, is known all the same.
            if let "STOP" | "RESUME" = event.name.as_str() {
                self.view.send_modify(|v| v.running = Some(event.name == "RESUME"));
            }
            return;
        }
        let host = self.name.clone();
        let emit = |ev| self.sink.emit_at(t, Body::Hypervisor(ev));
        emit(HvEvent::Raw { host: host.clone(), name: event.name.clone(), at: event.at, data: event.data.clone() });
        if let Some((what, detail)) = incident(&event.name, &event.data) {
            emit(HvEvent::Befell { host: host.clone(), what, detail, at: event.at });
        }
        match event.name.as_str() {
            "STOP" => {
                self.view.send_modify(|v| v.running = Some(false));
                emit(HvEvent::Stopped { host, at: event.at });
            }
            "RESUME" => {
                self.view.send_modify(|v| v.running = Some(true));
                emit(HvEvent::Resumed { host, at: event.at });
            }
            _ => {}
        }
        let _ = self.notes.send(Note::Event(Arc::new(event)));
    }
}
