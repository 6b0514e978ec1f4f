//! One QEMU we are connected to: a connection for commands, one for events.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;

use super::client::{Client, QmpError, QmpEvent};
use super::endpoint::{Endpoint, EndpointError};
use crate::event::{Body, EventSink, HvEvent};
use crate::hypervisor::HvError;

/// How long a monitor has to answer while we connect.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Where to find a QEMU. Each monitor serves one client at a time, so each purpose wants its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Our name for it, e.g. `a`.
    pub name: String,
    /// Monitor for commands.
    pub control: Endpoint,
    /// Monitor for events, so that no command in work holds them up. Without it they come over
    /// the one for commands.
    pub events: Option<Endpoint>,
    /// Monitor for the guardian (see [`super::guardian`]). Without it the guardian uses the one
    /// for commands, once we no longer hold it.
    pub guardian: Option<Endpoint>,
    /// Its process, if it runs on this machine.
    pub pid: Option<u32>,
}

impl HostSpec {
    /// Reads `CONTROL[,EVENTS[,GUARDIAN]]`, three monitors of one QEMU.
    ///
    /// # Errors
    /// When one of them is no address.
    pub fn parse(name: &str, text: &str) -> Result<Self, EndpointError> {
        let mut parts = text.splitn(3, ',').map(Endpoint::from_str);
        let control = parts.next().unwrap_or_else(|| Endpoint::from_str(""))?;
        let events = parts.next().transpose()?;
        let guardian = parts.next().transpose()?;
        Ok(Self { name: name.to_owned(), control, events, guardian, pid: None })
    }

    /// The monitor the guardian is to use.
    #[must_use]
    pub fn guardian_endpoint(&self) -> &Endpoint {
        self.guardian.as_ref().unwrap_or(&self.control)
    }
}

/// What became known of a host.
#[derive(Debug, Clone)]
pub(super) enum Note {
    /// It sent an event.
    Event(Arc<QmpEvent>),
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
        let unreachable = |e: QmpError| HvError::Unreachable { host: spec.name.clone(), why: e.to_string() };
        let view = watch::Sender::new(HostView::default());
        let (notes, _) = broadcast::channel(4096);
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
        let up = HvEvent::HostUp { host: spec.name.clone(), version: version.clone(), pid: spec.pid };
        sink.emit(Body::Hypervisor(up));
        let status =
            control.execute_within("query-status", Value::Null, CONNECT_PATIENCE).await.map_err(unreachable)?;
        view.send_modify(|v| v.running = status["running"].as_bool());
        // The listener starts here, so STOP and RESUME that waited in its queue correct the answer.
        let listening = Listening { name: spec.name.clone(), sink, view: view.clone(), notes: notes.clone() };
        let closed = control.closed();
        let task = tokio::spawn(listening.run(events, listener, closed)).abort_handle();
        Ok(Self { spec, version, control, view, notes, task })
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
            other => HvError::Unreachable { host, why: other.to_string() },
        }
    }
}

/// What the listening task holds; nothing of it keeps the host alive.
struct Listening {
    name: String,
    sink: EventSink,
    view: watch::Sender<HostView>,
    notes: broadcast::Sender<Note>,
}

impl Listening {
    /// Tells every event until one of the two connections ends.
    async fn run(
        self,
        events: Option<mpsc::Receiver<QmpEvent>>,
        listener: Option<Client>,
        mut control_closed: watch::Receiver<Option<QmpError>>,
    ) {
        let mut events = events;
        let mut events_closed = listener.as_ref().map_or_else(|| control_closed.clone(), Client::closed);
        if let Some(rx) = &mut events {
            loop {
                tokio::select! {
                    // Events first: what QEMU said before it ended is told before its end.
                    biased;
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
        let lost = HvEvent::HostLost { host: self.name.clone(), why };
        self.sink.emit(Body::Hypervisor(lost));
        let _ = self.notes.send(Note::Lost);
    }

    fn tell(&self, event: QmpEvent) {
        let t = self.sink.clock().at(event.received);
        let host = self.name.clone();
        let emit = |ev| self.sink.emit_at(t, Body::Hypervisor(ev));
        emit(HvEvent::Raw { host: host.clone(), name: event.name.clone(), at: event.at, data: event.data.clone() });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_two_or_three_monitors() {
        let one = HostSpec::parse("a", "/run/c").unwrap();
        assert_eq!((one.events.is_none(), one.guardian_endpoint()), (true, &one.control));
        let three = HostSpec::parse("a", "/run/c,unix:/run/e,tcp:h:1").unwrap();
        assert_eq!(three.guardian_endpoint().to_string(), "tcp:h:1");
        assert!(HostSpec::parse("a", "/run/c,").is_err());
        assert!(HostSpec::parse("a", "").is_err());
    }
}
