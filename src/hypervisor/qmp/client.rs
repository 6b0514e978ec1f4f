//! One connection to a QMP monitor: greeting, commands with ids, events as they come.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::bounds::{DATA_LIMIT, NAME_LIMIT, name, slim};
use super::endpoint::Endpoint;
use super::frame::Framer;
use crate::event::ForeignTime;
use crate::text::{TEXT_LIMIT, capped};

/// Longest message we take, bytes; a longer one is skipped. The largest answer a QEMU gives (its
/// schema) is about 250 kB, and what is asked here has a few.
pub const MESSAGE_LIMIT: usize = 512 << 10;
/// Events waiting to be taken; beyond this the peer is held up, nothing is dropped.
const EVENT_QUEUE: usize = 512;

/// What can go wrong with a QMP connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QmpError {
    /// Nothing listens there.
    #[error("cannot connect to {endpoint}: {why}; {remedy}")]
    NoSocket {
        /// Where it listens, as given.
        endpoint: String,
        /// What the operating system said.
        why: String,
        /// What would help.
        remedy: &'static str,
        /// The operating system says that no process listens there.
        refused: bool,
    },
    /// Something else listens there.
    #[error(
        "this socket is not QMP: {said} ({endpoint}); a monitor needs mode=control, as in -qmp unix:PATH,server=on,wait=off"
    )]
    NotQmp {
        /// Where it listens, as given.
        endpoint: String,
        /// What it said instead of a greeting.
        said: String,
    },
    /// It says nothing.
    #[error(
        "{endpoint} takes connections but sent no QMP greeting within {ms} ms: it is not QMP, or another program holds this monitor (each serves one client at a time)"
    )]
    NoGreeting {
        /// Where it listens, as given.
        endpoint: String,
        /// How long we waited, ms.
        ms: u128,
    },
    /// The connection is over.
    #[error("the connection to {endpoint} is lost: {why}")]
    Closed {
        /// Where it listens, as given.
        endpoint: String,
        /// What ended it, as the operating system or QEMU says.
        why: String,
    },
    /// The peer refuses a command.
    #[error("'{command}' is refused: {desc}")]
    Refused {
        /// Name of the QMP command.
        command: String,
        /// The class of the error, e.g. `GenericError`, `CommandNotFound`.
        class: String,
        /// In the peer's words.
        desc: String,
    },
    /// The peer answered a command, but what it said cannot be read.
    #[error("the answer of {endpoint} to '{command}' cannot be read: {why}")]
    Unread {
        /// Where it listens, as given.
        endpoint: String,
        /// Name of the QMP command.
        command: String,
        /// Where the answer departs from the protocol.
        why: String,
    },
    /// The peer does not answer a command.
    #[error("{endpoint} did not answer '{command}' within {seconds} s")]
    Silent {
        /// Where it listens, as given.
        endpoint: String,
        /// Name of the QMP command.
        command: String,
        /// How long we waited, s.
        seconds: u64,
    },
}

/// An event, with the peer's time stamp beside our own time of receipt.
#[derive(Debug, Clone, PartialEq)]
pub struct QmpEvent {
    /// Its name, e.g. `MIGRATION_PASS`.
    pub name: String,
    /// Its data; null where it has none.
    pub data: Value,
    /// The peer's time stamp (its host's realtime clock), if it could make one.
    pub at: Option<ForeignTime>,
    /// When we read it.
    pub received: Instant,
}

/// What a monitor says of itself on connecting.
#[derive(Debug, Clone, PartialEq)]
pub struct Greeting {
    /// The greeting, all of it.
    pub raw: Value,
}

impl Greeting {
    /// Product and version: `QEMU 10.0.2`.
    #[must_use]
    pub fn version(&self) -> String {
        let v = &self.raw["QMP"]["version"]["qemu"];
        match (v["major"].as_u64(), v["minor"].as_u64(), v["micro"].as_u64()) {
            (Some(a), Some(b), Some(c)) => format!("QEMU {a}.{b}.{c}"),
            _ => "QEMU, version unknown".into(),
        }
    }
}

/// Messages of a peer that could not be read, and were skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unread {
    /// How many so far.
    pub count: u64,
    /// What was wrong with the last one.
    pub last: String,
}

type Answer = Result<Value, QmpError>;

#[derive(Debug)]
struct Shared {
    endpoint: String,
    pending: Mutex<HashMap<u64, (String, oneshot::Sender<Answer>)>>,
    next: AtomicU64,
    closed: watch::Sender<Option<QmpError>>,
    unread: watch::Sender<Unread>,
}

impl Shared {
    fn pending(&self) -> std::sync::MutexGuard<'_, HashMap<u64, (String, oneshot::Sender<Answer>)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection for everybody who waits on it; the first reason stays.
    fn close(&self, why: String) {
        let error = QmpError::Closed { endpoint: self.endpoint.clone(), why };
        self.closed.send_if_modified(|c| {
            let first = c.is_none();
            if first {
                *c = Some(error.clone());
            }
            first
        });
        for (_, (_, tx)) in self.pending().drain() {
            let _ = tx.send(Err(error.clone()));
        }
    }
}

/// One connection to a QMP monitor. Dropping it closes the connection.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    out: mpsc::UnboundedSender<Vec<u8>>,
    tasks: [AbortHandle; 2],
    peer_pid: Option<u32>,
}

impl Drop for Client {
    fn drop(&mut self) {
        for t in &self.tasks {
            t.abort();
        }
        self.shared.close("closed by us".into());
    }
}

/// Both directions, and the process at the other end if it is on this machine.
type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>, Option<u32>);

async fn open(endpoint: &Endpoint) -> std::io::Result<Halves> {
    match endpoint {
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await?;
            // The process that opened the socket; 0 if it is none of this PID namespace.
            let pid = stream.peer_cred().ok().and_then(|c| c.pid()).and_then(|pid| u32::try_from(pid).ok());
            let (r, w) = stream.into_split();
            Ok((Box::new(r), Box::new(w), pid.filter(|pid| *pid > 0)))
        }
        Endpoint::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            let (r, w) = stream.into_split();
            Ok((Box::new(r), Box::new(w), None))
        }
    }
}

fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "there is no such socket: is the QEMU running, and its monitor at this path?",
        ErrorKind::ConnectionRefused => "nothing listens there: has the QEMU ended?",
        ErrorKind::PermissionDenied => "run as the user who started the QEMU, or give yourself access to the socket",
        _ => "check the address and that the QEMU runs",
    }
}

impl Client {
    /// Connects, checks the greeting and enters command mode. Events are handed to `events` as
    /// they are read, and dropped if there is none.
    ///
    /// # Errors
    /// When nothing listens, when what listens is not QMP, or when it says nothing for `patience`.
    pub async fn connect(
        endpoint: &Endpoint,
        patience: Duration,
        want_events: bool,
    ) -> Result<(Self, Greeting, Option<mpsc::Receiver<QmpEvent>>), QmpError> {
        let name = endpoint.to_string();
        let (mut reader, writer, peer_pid) = match timeout(patience, open(endpoint)).await {
            Ok(Ok(halves)) => halves,
            Ok(Err(e)) => {
                let refused = matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound);
                let (why, remedy) = (e.to_string(), remedy(e.kind()));
                return Err(QmpError::NoSocket { endpoint: name, why, remedy, refused });
            }
            Err(_) => {
                let why = format!("no answer within {} ms", patience.as_millis());
                let remedy = remedy(ErrorKind::TimedOut);
                return Err(QmpError::NoSocket { endpoint: name, why, remedy, refused: false });
            }
        };
        let mut framer = Framer::new(MESSAGE_LIMIT);
        let greeting = match timeout(patience, read_greeting(&mut reader, &mut framer)).await {
            Ok(Ok(raw)) => Greeting { raw },
            Ok(Err(said)) => return Err(QmpError::NotQmp { endpoint: name, said }),
            Err(_) => {
                let said = framer.pending();
                return Err(if said.is_empty() {
                    QmpError::NoGreeting { endpoint: name, ms: patience.as_millis() }
                } else {
                    QmpError::NotQmp { endpoint: name, said: format!("it said '{said}' and no more") }
                });
            }
        };
        let shared = Arc::new(Shared {
            endpoint: name,
            pending: Mutex::new(HashMap::new()),
            next: AtomicU64::new(1),
            closed: watch::Sender::new(None),
            unread: watch::Sender::default(),
        });
        let (out, out_rx) = mpsc::unbounded_channel();
        let (event_tx, event_rx) = mpsc::channel(EVENT_QUEUE);
        let event_tx = want_events.then_some(event_tx);
        let read = tokio::spawn(read_loop(reader, framer, Arc::clone(&shared), event_tx)).abort_handle();
        let write = tokio::spawn(write_loop(writer, out_rx, Arc::clone(&shared))).abort_handle();
        let client = Self { shared, out, tasks: [read, write], peer_pid };
        client.execute_within("qmp_capabilities", Value::Null, patience).await?;
        Ok((client, greeting, want_events.then_some(event_rx)))
    }

    /// The process that opened the monitor's socket, if it is a UNIX socket and the process of this
    /// machine.
    #[must_use]
    pub fn peer_pid(&self) -> Option<u32> {
        self.peer_pid
    }

    /// Gives a command and waits for its answer: 30 s, for a QEMU that hands over the last of the
    /// memory answers nothing meanwhile.
    ///
    /// # Errors
    /// When the peer refuses, is gone, or does not answer.
    pub async fn execute(&self, command: &str, arguments: Value) -> Answer {
        self.execute_within(command, arguments, Duration::from_secs(30)).await
    }

    /// Gives a command and waits at most `patience` for its answer. `arguments` is an object, or
    /// null for none.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn execute_within(&self, command: &str, arguments: Value, patience: Duration) -> Answer {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (tx, rx) = oneshot::channel();
        self.shared.pending().insert(id, (command.to_owned(), tx));
        // Looked at after the insertion: a connection that ends later finds the request there.
        if let Some(error) = self.shared.closed.borrow().clone() {
            self.shared.pending().remove(&id);
            return Err(error);
        }
        let mut message = Map::from_iter([("execute".to_owned(), json!(command)), ("id".to_owned(), json!(id))]);
        if !arguments.is_null() {
            message.insert("arguments".to_owned(), arguments);
        }
        let mut line = Value::Object(message).to_string().into_bytes();
        line.push(b'\n');
        // A failed send means that the writer is gone, and then the reader says why.
        let _ = self.out.send(line);
        match timeout(patience, rx).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.closed_error()),
            Err(_) => {
                self.shared.pending().remove(&id);
                Err(QmpError::Silent {
                    endpoint: self.shared.endpoint.clone(),
                    command: command.to_owned(),
                    seconds: patience.as_secs(),
                })
            }
        }
    }

    /// Why the connection is over, once it is.
    #[must_use]
    pub fn closed(&self) -> watch::Receiver<Option<QmpError>> {
        self.shared.closed.subscribe()
    }

    /// What of the peer's could not be read.
    #[must_use]
    pub fn unread(&self) -> watch::Receiver<Unread> {
        self.shared.unread.subscribe()
    }

    fn closed_error(&self) -> QmpError {
        self.shared.closed.borrow().clone().unwrap_or_else(|| QmpError::Closed {
            endpoint: self.shared.endpoint.clone(),
            why: "it ended without a reason".into(),
        })
    }
}

/// The greeting, or what was said instead.
async fn read_greeting(reader: &mut (dyn AsyncRead + Send + Unpin), framer: &mut Framer) -> Result<Value, String> {
    let mut buf = [0u8; 4096];
    loop {
        if let Some(object) = framer.next_object().map_err(|e| e.to_string())? {
            let text = String::from_utf8_lossy(&object).chars().take(80).collect::<String>();
            return match serde_json::from_slice::<Value>(&object) {
                Ok(v) if v.get("QMP").is_some_and(Value::is_object) => Ok(v),
                _ => Err(format!("it said '{text}'")),
            };
        }
        match reader.read(&mut buf).await {
            Ok(0) => return Err("it closed the connection without a greeting".into()),
            Ok(n) => framer.push(&buf[..n]),
            Err(e) => return Err(format!("reading its greeting failed: {e}")),
        }
    }
}

async fn write_loop(
    mut writer: Box<dyn AsyncWrite + Send + Unpin>,
    mut out: mpsc::UnboundedReceiver<Vec<u8>>,
    shared: Arc<Shared>,
) {
    while let Some(line) = out.recv().await {
        if let Err(e) = writer.write_all(&line).await {
            // The reader may still hold answers and the reason; it closes on its own.
            if e.kind() != ErrorKind::BrokenPipe {
                shared.close(format!("writing failed: {e}"));
            }
            return;
        }
    }
}

async fn read_loop(
    mut reader: Box<dyn AsyncRead + Send + Unpin>,
    mut framer: Framer,
    shared: Arc<Shared>,
    events: Option<mpsc::Sender<QmpEvent>>,
) {
    let mut buf = vec![0u8; 64 << 10];
    let mut received = Instant::now();
    let why = loop {
        loop {
            match framer.next_object() {
                Ok(Some(object)) => match sort(&object, received) {
                    Ok(Message::Answer(id, answer)) => settle(&shared, id, answer),
                    Ok(Message::Event(event)) => {
                        if let Some(tx) = &events {
                            let _ = tx.send(event).await;
                        }
                    }
                    Ok(Message::Other) => {}
                    Err(why) => skip(&shared, &object, why),
                },
                Ok(None) => break,
                Err(e) => skip(&shared, framer.evidence(), e.to_string()),
            }
        }
        match reader.read(&mut buf).await {
            Ok(0) => break "it closed the connection (has the process ended?)".into(),
            Ok(n) => {
                received = Instant::now();
                framer.push(&buf[..n]);
            }
            Err(e) => break format!("reading failed: {e}"),
        }
    };
    shared.close(why);
}

enum Message {
    Answer(Option<u64>, Result<Value, (String, String)>),
    Event(QmpEvent),
    Other,
}

/// Sorts one message; fails on what is not JSON.
fn sort(object: &[u8], received: Instant) -> Result<Message, String> {
    let mut v: Value = serde_json::from_slice(object).map_err(|e| {
        let text: String = String::from_utf8_lossy(object).chars().take(80).collect();
        format!("it sent broken JSON ({e}): '{text}'")
    })?;
    let id = v.get("id").and_then(Value::as_u64);
    if let Some(event) = v.get("event").and_then(Value::as_str) {
        let name = name(event);
        let at = foreign_time(&v["timestamp"]);
        return Ok(Message::Event(QmpEvent { name, data: slim(v["data"].take(), DATA_LIMIT), at, received }));
    }
    if let Some(error) = v.get("error") {
        let text = |key: &str, limit| error.get(key).and_then(Value::as_str).map(|t| capped(t, limit).into_owned());
        let desc = text("desc", TEXT_LIMIT).unwrap_or_else(|| capped(&error.to_string(), TEXT_LIMIT).into_owned());
        return Ok(Message::Answer(id, Err((text("class", NAME_LIMIT).unwrap_or_default(), desc))));
    }
    if v.get("return").is_some() {
        return Ok(Message::Answer(id, Ok(v["return"].take())));
    }
    Ok(Message::Other)
}

/// A QMP time stamp; QEMU writes -1 where its clock failed.
fn foreign_time(v: &Value) -> Option<ForeignTime> {
    let (secs, micros) = (v.get("seconds")?.as_i64()?, v.get("microseconds")?.as_i64()?);
    (secs >= 0 && (0..1_000_000).contains(&micros)).then_some(ForeignTime { secs, micros })
}

/// What a message that cannot be read was, as far as its two ends tell.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Event,
    Answer(Option<u64>),
    Noise,
}

fn kind(evidence: &[u8]) -> Kind {
    let text = String::from_utf8_lossy(evidence);
    let id = text.rfind("\"id\"").and_then(|at| {
        let digits = text[at + 4..].trim_start().strip_prefix(':')?.trim_start();
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    });
    match () {
        () if text.contains("\"event\"") => Kind::Event,
        () if id.is_some() || text.contains("\"return\"") || text.contains("\"error\"") => Kind::Answer(id),
        () => Kind::Noise,
    }
}

/// Skips a message that cannot be read. If it was an answer, the command it answers fails: without an
/// id that is the oldest one, for a monitor answers in order.
fn skip(shared: &Shared, evidence: &[u8], why: String) {
    if let Kind::Answer(id) = kind(evidence) {
        let mut pending = shared.pending();
        let id = id.filter(|id| pending.contains_key(id)).or_else(|| pending.keys().min().copied());
        if let Some((command, tx)) = id.and_then(|id| pending.remove(&id)) {
            let _ = tx.send(Err(QmpError::Unread { endpoint: shared.endpoint.clone(), command, why: why.clone() }));
        }
    }
    shared.unread.send_modify(|u| {
        u.count += 1;
        u.last = why;
    });
}

/// Hands an answer to whoever waits for it. One without an id (the peer could not read our
/// command) goes to the oldest request; one that nobody waits for any more is dropped.
fn settle(shared: &Shared, id: Option<u64>, answer: Result<Value, (String, String)>) {
    let mut pending = shared.pending();
    let Some(id) = id.or_else(|| pending.keys().min().copied()) else { return };
    if let Some((command, tx)) = pending.remove(&id) {
        let _ = tx.send(answer.map_err(|(class, desc)| QmpError::Refused { command, class, desc }));
    }
}

/// Takes in what a monitor might send.
#[cfg(test)]
pub(super) fn fuzz(bytes: &[u8]) {
    let mut framer = Framer::new(1 << 16);
    framer.push(bytes);
    let _ = framer.pending();
    while let Ok(Some(object)) = framer.next_object() {
        let _ = sort(&object, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_keep_the_peers_time_and_all_data() {
        let text =
            br#"{"timestamp":{"seconds":1795377490,"microseconds":433887},"event":"MIGRATION_PASS","data":{"pass":1}}"#;
        let Ok(Message::Event(e)) = sort(text, Instant::now()) else { panic!("no event") };
        assert_eq!((e.name.as_str(), &e.data), ("MIGRATION_PASS", &json!({"pass": 1})));
        assert_eq!(e.at, Some(ForeignTime { secs: 1_795_377_490, micros: 433_887 }));
        let text = br#"{"timestamp":{"seconds":-1,"microseconds":-1},"event":"STOP"}"#;
        let Ok(Message::Event(e)) = sort(text, Instant::now()) else { panic!("no event") };
        assert_eq!((e.at, e.data), (None, Value::Null));
    }

    #[test]
    fn a_message_that_cannot_be_read_is_told_apart_by_its_ends() {
        for (text, want) in [
            ("{\"event\": \"BLOCK_JOB_ERROR\", \"data\": {\"error\"", Kind::Event),
            ("{\"return\": {\"id\": 3}, \"id\" : 12}", Kind::Answer(Some(12))),
            ("{\"id\":4,\"error\":{\"class\":", Kind::Answer(Some(4))),
            ("{\"return\": {", Kind::Answer(None)),
            ("{\"id\": \"x\"}", Kind::Noise),
            ("hello", Kind::Noise),
            ("}", Kind::Noise),
        ] {
            assert_eq!(kind(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn what_a_peer_says_is_bounded() {
        let desc = json!({"error": {"class": "c".repeat(9999), "desc": "d".repeat(500_000)}, "id": 1}).to_string();
        let Ok(Message::Answer(Some(1), Err((class, desc)))) = sort(desc.as_bytes(), Instant::now()) else { panic!() };
        assert!(class.len() < 200 && desc.len() < TEXT_LIMIT + 64, "{} {}", class.len(), desc.len());
        let event = json!({"event": "E".repeat(9999), "data": vec![1; 100_000]}).to_string();
        let Ok(Message::Event(e)) = sort(event.as_bytes(), Instant::now()) else { panic!() };
        assert!(e.name.len() < 200 && e.data.to_string().len() < 100, "{}", e.data);
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_crash() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(sort(deep.as_bytes(), Instant::now()).is_err());
    }

    proptest! {
        #[test]
        fn hostile_messages_never_panic(
            key in prop::sample::select(vec!["event", "return", "error", "id", "timestamp", "data", "QMP"]),
            other in prop::sample::select(vec!["event", "return", "error", "id", "timestamp"]),
            text in "\\PC{0,20}", n in any::<i64>(),
        ) {
            for v in [json!({key: text, other: n}), json!({key: {other: text}}), json!({key: [n], other: {"desc": n}})] {
                let _ = sort(v.to_string().as_bytes(), Instant::now());
                let _ = Greeting { raw: v }.version();
            }
            let _ = sort(text.as_bytes(), Instant::now());
        }
    }
}
