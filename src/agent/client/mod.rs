//! The controller's end: a source of [`AgentEvent`]s and the way to set the load.
//!
//! A thread keeps the connection: it connects, reads, and connects again when it is lost, for as
//! long as the [`Client`] lives. Heartbeats have a thread of their own. Neither draws or waits for
//! anybody. A request that was not answered when the connection broke is sent again.

mod connection;
mod failure;
mod options;
mod state;
mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use self::failure::Failure;
pub use self::options::{ClientError, ClientOptions, HeartbeatOptions};
use self::state::Shared;
pub use self::transport::Transport;
use super::heartbeat::{Ear, Heard};
use super::protocol::{AgentHello, ToAgent, Token};
use crate::event::{AgentEvent, Body, EventSink, Level, LoadSettings, LogEvent};

/// Where the agent answers UDP echoes, and the token a request must bear
/// ([`encode_echo`](super::heartbeat::encode_echo)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoTarget {
    /// Its address.
    pub addr: SocketAddr,
    /// The token.
    pub token: Token,
}

/// A connection with an agent that is kept up. Dropping it ends the load; see [`Client::close`].
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    keep_load: bool,
    _ear: Option<Arc<Ear>>,
}

impl Client {
    /// Starts to connect, and goes on as long as the client lives. Events go to `sink`. Threads and
    /// sockets are of the network namespace of the calling thread.
    ///
    /// # Errors
    /// When heartbeats cannot be received or a thread cannot be started. A peer that does not
    /// answer is no error here: see [`Client::wait_connected`].
    pub fn connect(transport: Transport, options: ClientOptions, sink: EventSink) -> Result<Self, ClientError> {
        let ear = options.heartbeat.map(|h| listen(h, sink.clone())).transpose()?.map(Arc::new);
        let shared = Arc::new(Shared::new(transport, options, sink, ear.clone()));
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("agent-client".into()).spawn(move || connection::keep_up(&of_thread));
        let thread = Some(thread.map_err(ClientError::Thread)?);
        Ok(Self { shared, thread, keep_load: false, _ear: ear })
    }

    /// Asks for a load. The answer comes as [`AgentEvent::Ack`] or [`AgentEvent::Refused`] with the
    /// same `id`; ids must rise. Without a connection the newest request waits for one.
    pub fn set(&self, id: u64, settings: LoadSettings) {
        self.shared.request(id, settings, true);
    }

    /// As [`set`](Self::set), for one of many requests of which only the newest matters (a ramp): it
    /// is sent when those before it are answered, and gives way to a newer one until then. So they
    /// never pile up before a guest that stands still, and never break off a WSET that still grows.
    pub fn follow(&self, id: u64, settings: LoadSettings) {
        self.shared.request(id, settings, false);
    }

    /// Whether a connection stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.is_connected()
    }

    /// What the agent said of itself when it was connected to last.
    #[must_use]
    pub fn agent(&self) -> Option<AgentHello> {
        self.shared.agent()
    }

    /// Where the agent answers UDP echoes, once connected over TCP.
    #[must_use]
    pub fn echo_target(&self) -> Option<EchoTarget> {
        let hello = self.shared.agent()?;
        let ip = self.shared.peer_ip()?;
        Some(EchoTarget { addr: SocketAddr::new(ip, hello.udp_port?), token: hello.echo_token })
    }

    /// Waits until a connection stands, blocking this thread.
    ///
    /// # Errors
    /// When none stands in time, with the reason; at once when trying again cannot help (the agent
    /// itself, authenticated, speaks another protocol version; a command that cannot be run). What
    /// anyone could answer in the agent's place, such as that our key is refused, ends nothing.
    pub fn wait_connected(&self, timeout: Duration) -> Result<AgentHello, ClientError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(settled) = self.shared.settled(Instant::now() >= until, timeout) {
                return settled;
            }
            self.shared.wait_for_change(until);
        }
    }

    /// As [`wait_connected`](Self::wait_connected), for callers that must not block.
    ///
    /// # Errors
    /// The same.
    pub async fn connected(&self, timeout: Duration) -> Result<AgentHello, ClientError> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(settled) = self.shared.settled(Instant::now() >= until, timeout) {
                return settled;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Leaves the agent. With `keep_load` its load stays until the lease runs out; otherwise load
    /// and memory are let go at once, which is also what dropping the client does.
    pub fn close(mut self, keep_load: bool) {
        self.keep_load = keep_load;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop(ToAgent::Bye { keep_load: self.keep_load });
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(options: HeartbeatOptions, sink: EventSink) -> Result<Ear, ClientError> {
    let any = |ip: IpAddr| SocketAddr::new(ip, 0);
    let (v6, v4) = (any(Ipv6Addr::UNSPECIFIED.into()), any(Ipv4Addr::UNSPECIFIED.into()));
    let (addr, bound) = match options.bind {
        Some(addr) => (addr, UdpSocket::bind(addr)),
        // Where there is IPv6, such a socket hears both.
        None => (v4, UdpSocket::bind(v6).or_else(|_| UdpSocket::bind(v4))),
    };
    let heard = move |heard| {
        let t = sink.clock().now();
        let body = match heard {
            Heard::Beat(seq, guest_ns) => Body::Agent(AgentEvent::Heartbeat { seq, guest_ns }),
            Heard::Remark(text) => Body::Log(LogEvent { level: Level::Warn, from: "agent".into(), text }),
        };
        sink.emit_at(t, body);
    };
    bound.and_then(|socket| Ear::start(socket, options.interval, heard)).map_err(|why| ClientError::Udp { addr, why })
}
