//! The agent itself: it runs the generators for one controller at a time.
//!
//! Plain threads, so that it works as the only program of a small guest: it needs `/proc` and
//! nothing else of the file system.

mod connection;
mod options;
mod session;
mod state;
mod strangers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

pub use self::options::{DEFAULT_LEASE, DEFAULT_REPORT_INTERVAL, Endpoint, Log, ServerOptions};
use self::state::Agent;
use super::heartbeat::Heart;
use super::protocol::Token;
use crate::event::LoadSettings;
use crate::load::{Generators, LoadError};

/// Why an agent cannot run.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The TCP address cannot be had.
    #[error("cannot listen on {addr}: {why}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        why: std::io::Error,
    },
    /// The UDP port cannot be had.
    #[error("cannot use UDP port {port} for heartbeats: {why}; --heartbeat-port chooses another")]
    Udp {
        /// The port.
        port: u16,
        /// What the operating system said.
        why: std::io::Error,
    },
    /// The generators cannot be started.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// A running agent. Dropping it stops the generators and frees the memory.
#[derive(Debug)]
pub struct Server {
    agent: Arc<Agent>,
    local: Option<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
    accept: Option<JoinHandle<()>>,
}

/// Runs an agent until the process ends, or, on stdin and stdout, until the controller is gone or
/// silent for longer than the lease.
///
/// # Errors
/// When it cannot be started.
pub fn run(options: ServerOptions) -> Result<(), ServerError> {
    let stdio = matches!(options.endpoint, Endpoint::Stdio);
    let server = Server::start(options)?;
    while server.accept.as_ref().is_some_and(|a| !a.is_finished()) && !(stdio && server.agent.is_orphan()) {
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

impl Server {
    /// Starts an agent; it runs until it is dropped.
    ///
    /// # Errors
    /// When the ports cannot be had or a thread cannot be started.
    pub fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let listener = match &options.endpoint {
            Endpoint::Listen { addr, .. } => {
                Some(TcpListener::bind(addr).map_err(|why| ServerError::Listen { addr: *addr, why })?)
            }
            Endpoint::Stdio => None,
        };
        let local = listener.as_ref().and_then(|l| l.local_addr().ok());
        let socket = udp_socket(local, options.udp_port)?;
        let echo = Token::random();
        let heart = Heart::start(socket, echo).map_err(ServerError::Thread)?;
        let generators = Generators::start(options.limits)?;
        let agent = Arc::new(Agent::new(generators, heart, echo, &options));
        let mut server = Self { agent: Arc::clone(&agent), local, threads: Vec::new(), accept: None };
        server.spawn("apply-load", Agent::apply_loop)?;
        server.spawn("report", Agent::report_loop)?;
        let accept = thread::Builder::new().name("accept".into());
        let accept = match (options.endpoint, listener) {
            (Endpoint::Listen { psk, .. }, Some(listener)) => {
                let addr = local.map_or_else(String::new, |a| a.to_string());
                agent.log(&format!("listening on {addr}, UDP port {}", agent.heart.port().unwrap_or(0)));
                accept.spawn(move || connection::accept_loop(&agent, &listener, &psk))
            }
            _ => accept.spawn(move || connection::serve_stdio(&agent)),
        };
        server.accept = Some(accept.map_err(ServerError::Thread)?);
        Ok(server)
    }

    fn spawn(&mut self, name: &str, work: fn(&Agent)) -> Result<(), ServerError> {
        let agent = Arc::clone(&self.agent);
        let thread = thread::Builder::new().name(name.into()).spawn(move || work(&agent));
        self.threads.push(thread.map_err(ServerError::Thread)?);
        Ok(())
    }

    /// The TCP address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// What is set now.
    #[must_use]
    pub fn settings(&self) -> LoadSettings {
        self.agent.generators.settings()
    }

    /// Breaks the connection with the controller, as a failing network would.
    pub fn hang_up(&self) {
        self.agent.hang_up();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.agent.stop.store(true, Ordering::Release);
        self.agent.hang_up();
        self.agent.wake();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // The accepting thread waits in the kernel; a connection wakes it. One that reads stdin
        // ends with the process.
        if let (Some(accept), Some(addr)) = (self.accept.take(), self.local)
            && std::net::TcpStream::connect_timeout(&reachable(addr), Duration::from_secs(1)).is_ok()
        {
            let _ = accept.join();
        }
        // Connections that are still ending share the agent; the memory need not wait for them.
        let _ = self.agent.generators.apply(LoadSettings::default());
    }
}

/// An address of this machine that reaches a listener on `addr`.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

fn udp_socket(local: Option<SocketAddr>, port: Option<u16>) -> Result<UdpSocket, ServerError> {
    let ip = local.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |a| a.ip());
    let wanted = port.or(local.map(|a| a.port())).unwrap_or(0);
    match UdpSocket::bind((ip, wanted)) {
        Err(_) if port.is_none() => UdpSocket::bind((ip, 0)),
        bound => bound,
    }
    .map_err(|why| ServerError::Udp { port: wanted, why })
}
