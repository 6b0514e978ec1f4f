//! Connections with controllers: letting them in, and listening to them.

use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::allowance::Folded;
use super::super::link::{LinkError, Receiver, Sender, Watched, halves, tune};
use super::super::noise::Seen;
use super::super::protocol::{PROTOCOL, ProtocolError, RequestId, ToAgent, ToController, version};
use super::super::{Psk, noise};
use super::session::Session;
use super::state::Agent;
use super::strangers::{Place, Strangers};

/// A stranger has so long for its handshake and its hello together.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection whose data stays unacknowledged for so long is dead.
const DEAD_AFTER: Duration = Duration::from_secs(60);

/// What is told of strangers: ten remarks of a kind, then one in ten seconds.
#[derive(Debug)]
struct Remarks {
    refused: Folded,
    trouble: Folded,
}

impl Remarks {
    fn new() -> Self {
        let few = || Folded::new(10.0);
        Self { refused: few(), trouble: few() }
    }
}

/// Lets controllers in until the agent stops.
pub(super) fn accept_loop(agent: &Arc<Agent>, listener: &TcpListener, psk: &Psk) {
    let strangers = Arc::new(Strangers::default());
    let (seen, remarks) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Mutex::new(Remarks::new())));
    let trouble = |why: String| {
        let said = lock(&remarks).trouble.say(|| why);
        said.into_iter().for_each(|text| agent.log(&text));
        thread::sleep(Duration::from_millis(20));
    };
    while !agent.stop.load(Ordering::Acquire) {
        let (stream, peer) = match listener.accept() {
            Ok((stream, peer)) => (Arc::new(stream), peer),
            Err(e) => {
                // Where descriptors are short, strangers have them.
                strangers.make_room();
                trouble(format!("cannot accept a connection: {e}"));
                continue;
            }
        };
        while strangers.is_crowded() && !agent.stop.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        if agent.stop.load(Ordering::Acquire) {
            return;
        }
        let place = strangers.enter(&stream);
        let (of_thread, psk, seen, remarks) = (Arc::clone(agent), psk.clone(), Arc::clone(&seen), Arc::clone(&remarks));
        let spawned = thread::Builder::new().name("controller".into()).spawn(move || {
            let agent = of_thread;
            let opened = open(&stream, &psk, &seen, &place);
            drop(place);
            match opened {
                Ok((receiver, sender, controller)) => {
                    let session = Session::new(controller, peer.to_string(), hang_up(stream));
                    serve(&agent, session, receiver, sender, Some(peer.ip()));
                }
                Err(why) => {
                    let said = lock(&remarks).refused.say(|| format!("{peer} is not let in: {why}"));
                    said.into_iter().for_each(|text| agent.log(&text));
                }
            }
        });
        if let Err(e) = spawned {
            strangers.make_room();
            trouble(format!("cannot start a thread for {peer}: {e}"));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hang_up(stream: Arc<TcpStream>) -> Box<dyn Fn() + Send + Sync> {
    // Only the reading side: what waits to be sent, such as the reason, is still sent. Then the
    // sending thread ends and lets the connection go.
    Box::new(move || {
        let _ = stream.shutdown(Shutdown::Read);
    })
}

/// Handshake and hello, within the time a stranger has.
fn open(
    stream: &Arc<TcpStream>,
    psk: &Psk,
    seen: &Mutex<Seen>,
    place: &Place,
) -> Result<(Receiver, Sender, u64), String> {
    let mut watched = Watched::new(Arc::clone(stream), Instant::now() + HANDSHAKE);
    let _ = stream.set_nodelay(true);
    let channel = noise::respond_once(&mut watched, psk, seen, || place.proven()).map_err(|e| e.to_string())?;
    let (mut receiver, mut sender) = halves(Box::new(watched.clone()), Box::new(watched.clone()), Some(channel));
    let controller = greet(&mut receiver, &mut sender).map_err(|e| e.to_string())?;
    watched.trust();
    tune(stream, DEAD_AFTER);
    Ok((receiver, sender, controller))
}

/// Reads the controller's hello; tells it so if it speaks another version.
fn greet(receiver: &mut Receiver, sender: &mut Sender) -> Result<u64, LinkError> {
    let error = match receiver.receive_first::<ToAgent>() {
        Ok(ToAgent::Hello(hello)) => return Ok(hello.controller),
        Ok(_) => LinkError::Protocol(ProtocolError::Malformed("the first message is not a hello".into())),
        Err(e) => e,
    };
    if let LinkError::Protocol(e) = &error {
        // From here, "this side" is the agent: the message names both versions anyway.
        let why = format!("the agent says: {e}");
        let _ = sender.send(&ToController::Refuse { protocol: PROTOCOL, version: version(), why });
    }
    Err(error)
}

/// Serves the controller at the other end of stdin and stdout, until it is gone or its lease is out.
pub(super) fn serve_stdio(agent: &Arc<Agent>) {
    let (mut receiver, mut sender) = halves(Box::new(std::io::stdin()), Box::new(std::io::stdout()), None);
    match greet(&mut receiver, &mut sender) {
        // Its session ends with the process.
        Ok(controller) => {
            serve(agent, Session::new(controller, "stdio".into(), Box::new(|| ())), receiver, sender, None)
        }
        Err(e) => agent.log(&format!("the controller on stdin is not served: {e}")),
    }
}

/// Serves a controller until it leaves.
fn serve(agent: &Arc<Agent>, session: Session, mut receiver: Receiver, mut sender: Sender, peer: Option<IpAddr>) {
    let session = Arc::new(session);
    if let Err(why) = agent.admit(&session) {
        agent.log(&format!("{} is not served: {why}", session.peer));
        let _ = sender.send(&ToController::Refuse { protocol: PROTOCOL, version: version(), why });
        return;
    }
    agent.log(&format!("serving the controller {}", session.peer));
    let of_sender = Arc::clone(&session);
    let sending = thread::Builder::new().name("to-controller".into()).spawn(move || {
        // What fails here fails the reading too, which says so.
        let _ = of_sender.outbox.drain_into(sender);
        (of_sender.hang_up)();
    });
    let why = match sending {
        Ok(_) => listen(agent, &session, &mut receiver, peer),
        Err(e) => format!("no thread to answer it: {e}"),
    };
    agent.log(&format!("the controller {} is gone: {why}", session.peer));
    agent.leave(&session);
}

fn listen(agent: &Agent, session: &Arc<Session>, receiver: &mut Receiver, peer: Option<IpAddr>) -> String {
    loop {
        let message = match receiver.receive::<ToAgent>() {
            Ok(message) => message,
            Err(e) => return e.to_string(),
        };
        agent.heard(session);
        match message {
            ToAgent::Hello(_) => return "it greets twice".into(),
            ToAgent::Ping { n } => {
                session.outbox.push(ToController::Pong { n });
            }
            ToAgent::Set { id, settings } => {
                agent.request(RequestId { controller: session.controller, id }, settings);
            }
            ToAgent::Configure { report_interval_ms, heartbeat } => {
                agent.set_report_interval(Duration::from_millis(report_interval_ms));
                agent.aim(heartbeat, peer.map(plain));
            }
            ToAgent::Bye { keep_load } => {
                agent.heart_off();
                if !keep_load {
                    agent.let_go();
                }
                return if keep_load { "it left, and its load stays".into() } else { "it left".into() };
            }
        }
    }
}

/// An IPv4 address that came in over an IPv6 socket, as itself.
fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
