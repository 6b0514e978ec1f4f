//! A connection that carries messages: a sending and a receiving half, in clear (over stdin and
//! stdout, which ssh protects) or encrypted (over TCP).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use snow::StatelessTransportState;
use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;

use super::protocol::{self, Decoder, MAX_MESSAGE, ProtocolError};

/// What a Noise message is longer than what it carries, bytes.
const TAG_BYTES: usize = 16;

/// What ends a connection.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The peer hung up.
    #[error("the other side closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(std::io::Error),
    /// A message that does not decrypt.
    #[error("a message does not decrypt: it was changed on the way")]
    Forged,
    /// A message that is none.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl From<std::io::Error> for LinkError {
    fn from(e: std::io::Error) -> Self {
        if e.kind() == ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(e) }
    }
}

/// The encrypted channel of one connection, shared by its halves.
pub(super) type Channel = Arc<StatelessTransportState>;

/// The receiving half.
pub struct Receiver {
    stream: Box<dyn Read + Send>,
    decoder: Decoder,
    noise: Option<(Channel, u64)>,
}

/// The sending half.
pub struct Sender {
    stream: Box<dyn Write + Send>,
    noise: Option<(Channel, u64)>,
}

/// The two halves of a connection. With a channel they are encrypted, without one in clear.
#[must_use]
pub(super) fn halves(
    read: Box<dyn Read + Send>,
    write: Box<dyn Write + Send>,
    channel: Option<StatelessTransportState>,
) -> (Receiver, Sender) {
    let channel = channel.map(Arc::new);
    let ours = channel.clone().map(|c| (c, 0));
    let receiver = Receiver { stream: read, decoder: Decoder::default(), noise: ours };
    (receiver, Sender { stream: write, noise: channel.map(|c| (c, 0)) })
}

impl Receiver {
    /// Waits for the next message.
    ///
    /// # Errors
    /// When the connection ends, or what comes is no message.
    pub fn receive<M: DeserializeOwned>(&mut self) -> Result<M, LinkError> {
        Ok(protocol::decode(&self.receive_bytes()?)?)
    }

    /// Waits for the first message, which may be of another version.
    ///
    /// # Errors
    /// As [`receive`](Self::receive), and when the versions differ.
    pub fn receive_first<M: DeserializeOwned>(&mut self) -> Result<M, LinkError> {
        Ok(protocol::decode_first(&self.receive_bytes()?)?)
    }

    fn receive_bytes(&mut self) -> Result<Vec<u8>, LinkError> {
        if let Some((channel, nonce)) = &mut self.noise {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head)?;
            let announced = usize::from(u16::from_be_bytes(head));
            if announced > MAX_MESSAGE + TAG_BYTES {
                return Err(ProtocolError::TooLong { len: announced }.into());
            }
            let mut sealed = vec![0; announced];
            self.stream.read_exact(&mut sealed)?;
            let mut message = vec![0; sealed.len()];
            let len = channel.read_message(*nonce, &sealed, &mut message).map_err(|_| LinkError::Forged)?;
            *nonce += 1;
            message.truncate(len);
            return Ok(message);
        }
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(n) => self.decoder.feed(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Sender {
    /// Sends a message.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send<M: Serialize>(&mut self, message: &M) -> Result<(), LinkError> {
        let message = protocol::encode(message)?;
        let bytes = match &mut self.noise {
            None => protocol::frame(&message),
            Some((channel, nonce)) => {
                let mut sealed = vec![0; 2 + MAX_MESSAGE + TAG_BYTES];
                let len = channel.write_message(*nonce, &message, &mut sealed[2..]).map_err(|_| LinkError::Forged)?;
                *nonce += 1;
                sealed[..2].copy_from_slice(&(len as u16).to_be_bytes());
                sealed.truncate(2 + len);
                sealed
            }
        };
        self.stream.write_all(&bytes)?;
        Ok(self.stream.flush()?)
    }
}

/// A TCP stream for a stranger: all that is read and written until [`trust`](Self::trust) is called
/// has one deadline together, however many bytes at a time it comes in.
#[derive(Clone)]
pub(super) struct Watched {
    stream: Arc<TcpStream>,
    until: Arc<Mutex<Option<Instant>>>,
}

impl Watched {
    pub(super) fn new(stream: Arc<TcpStream>, until: Instant) -> Self {
        Self { stream, until: Arc::new(Mutex::new(Some(until))) }
    }

    /// The deadline holds no more. Call [`tune`] afterwards, which resets the socket's own.
    pub(super) fn trust(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.until() {
            Some(until) => Hurried { stream: &self.stream, until }.read(buffer),
            None => (&*self.stream).read(buffer),
        }
    }
}

impl Write for Watched {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self.until() {
            Some(until) => Hurried { stream: &self.stream, until }.write(buffer),
            None => (&*self.stream).write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A TCP stream that must be done by a given time: for handshakes with strangers.
pub(super) struct Hurried<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) until: Instant,
}

impl Hurried<'_> {
    fn left(&self) -> std::io::Result<Option<Duration>> {
        match self.until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(std::io::Error::new(ErrorKind::TimedOut, "the other side does not answer")),
        }
    }
}

fn timed_out(e: std::io::Error) -> std::io::Error {
    if e.kind() == ErrorKind::WouldBlock {
        std::io::Error::new(ErrorKind::TimedOut, "the other side does not answer")
    } else {
        e
    }
}

impl Read for Hurried<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        (&mut &*self.stream).read(buffer).map_err(timed_out)
    }
}

impl Write for Hurried<'_> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        (&mut &*self.stream).write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `TCP_RTO_MAX_MS` of linux/tcp.h (since Linux 6.15): the longest wait between two tries.
const TCP_RTO_MAX_MS: nix::libc::c_int = 44;

/// Makes a TCP connection outlive a blackout of less than `dead_after`, and go on at once when it
/// is over: without this, the kernel would wait up to as long again before it tries once more.
/// What a kernel does not know it does without.
#[allow(unsafe_code)]
pub(super) fn tune(stream: &TcpStream, dead_after: Duration) {
    let socket = SockRef::from(stream);
    let probe = Duration::from_secs(5);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_user_timeout(Some(dead_after));
    let _ = socket.set_tcp_thin_linear_timeouts(true);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(probe).with_interval(probe));
    let rto_max_ms: nix::libc::c_int = 1000;
    // SAFETY: the descriptor is open while `stream` is borrowed, and the value is an int that lives
    // through the call.
    let _ = unsafe {
        nix::libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(stream),
            nix::libc::IPPROTO_TCP,
            TCP_RTO_MAX_MS,
            (&raw const rto_max_ms).cast(),
            size_of::<nix::libc::c_int>() as nix::libc::socklen_t,
        )
    };
    // Timeouts of the handshake do not hold for what follows.
    let _ = stream.set_read_timeout(None);
    // A peer that acknowledges and never reads would hold a writer for ever.
    let _ = stream.set_write_timeout(Some(dead_after));
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::super::protocol::ToAgent;
    use super::super::{Psk, noise};
    use super::*;

    fn pair(encrypted: bool) -> (Receiver, Sender, UnixStream) {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let psk = Psk::random();
        let (to_b, mut channels) = (b.try_clone().unwrap(), (None, None));
        if encrypted {
            let key = psk.clone();
            let other = std::thread::spawn(move || noise::respond(&mut b, &key).unwrap());
            channels = (Some(noise::initiate(&mut a, &psk).unwrap()), Some(other.join().unwrap()));
        }
        let raw = a.try_clone().unwrap();
        let (_, sender) = halves(Box::new(a.try_clone().unwrap()), Box::new(a), channels.0);
        let (receiver, _) = halves(Box::new(to_b.try_clone().unwrap()), Box::new(to_b), channels.1);
        (receiver, sender, raw)
    }

    #[test]
    fn messages_arrive_in_order_and_the_end_is_known() {
        for encrypted in [false, true] {
            let (mut receiver, mut sender, raw) = pair(encrypted);
            for n in 0..50 {
                sender.send(&ToAgent::Ping { n }).unwrap();
            }
            raw.shutdown(std::net::Shutdown::Both).unwrap();
            for n in 0..50 {
                assert_eq!(receiver.receive::<ToAgent>().unwrap(), ToAgent::Ping { n });
            }
            assert!(matches!(receiver.receive::<ToAgent>(), Err(LinkError::Closed)));
        }
    }

    #[test]
    fn what_is_slipped_in_is_noticed() {
        let (mut receiver, _sender, mut raw) = pair(true);
        raw.write_all(&[0, 20]).unwrap();
        raw.write_all(&[7; 20]).unwrap();
        assert!(matches!(receiver.receive::<ToAgent>(), Err(LinkError::Forged)));
        let (mut receiver, _sender, mut raw) = pair(false);
        raw.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let says = receiver.receive::<ToAgent>().unwrap_err().to_string();
        assert!(says.contains("not a blackout agent"), "{says}");
    }
}
