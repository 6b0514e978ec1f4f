//! Encryption and authentication: `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s`.
//!
//! Both sides prove that they have the pre-shared key before a word of the protocol is read. Each
//! Noise message travels with its length in two bytes, most significant first. An agent that
//! cannot read the first message answers with length 0: the one thing said in clear, so that a
//! controller with the wrong key can be told more than "connection closed".

use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::sync::{Mutex, PoisonError};

use snow::{Builder, HandshakeState, StatelessTransportState};
use thiserror::Error;

use super::Psk;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Binds the handshake to this use of the key.
const PROLOGUE: &[u8] = b"blackout agent";
/// A handshake message of this pattern without payload: an ephemeral key and a tag.
const HANDSHAKE_BYTES: usize = 32 + 16;

/// Why a handshake failed.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The agent could not read our first message.
    #[error("the agent, or what answers in its place, refuses our pre-shared key: both sides need the same key file")]
    KeyRefused,
    /// We could not read the controller's first message.
    #[error("the pre-shared key differs: the controller's first message does not decrypt with ours")]
    KeyDiffers,
    /// The first message came before.
    #[error("its first message was sent before: a recorded handshake, played again")]
    Replayed,
    /// The answer does not decrypt.
    #[error("the agent's answer does not decrypt: something else answers in its place, or changes what it says")]
    Forged,
    /// Not a handshake at all.
    #[error(
        "the peer does not begin a handshake ({0} bytes announced instead of {HANDSHAKE_BYTES}): it is not a blackout agent"
    )]
    NotBlackout(usize),
    /// The connection failed.
    #[error("the connection failed during the handshake: {0}")]
    Io(#[from] std::io::Error),
    /// The cryptography library refuses to work.
    #[error("cannot set up encryption: {0}")]
    Setup(snow::Error),
}

fn builder(psk: &Psk) -> Result<Builder<'_>, HandshakeError> {
    let params = PATTERN.parse().map_err(HandshakeError::Setup)?;
    Builder::new(params).prologue(PROLOGUE).and_then(|b| b.psk(0, psk.bytes())).map_err(HandshakeError::Setup)
}

fn send(stream: &mut impl Write, state: &mut HandshakeState) -> Result<(), HandshakeError> {
    let mut out = [0; 2 + HANDSHAKE_BYTES];
    let len = state.write_message(&[], &mut out[2..]).map_err(HandshakeError::Setup)?;
    out[..2].copy_from_slice(&(len as u16).to_be_bytes());
    stream.write_all(&out[..2 + len])?;
    Ok(stream.flush()?)
}

fn receive(stream: &mut impl Read) -> Result<Option<[u8; HANDSHAKE_BYTES]>, HandshakeError> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    match usize::from(u16::from_be_bytes(head)) {
        0 => Ok(None),
        HANDSHAKE_BYTES => {
            let mut message = [0; HANDSHAKE_BYTES];
            stream.read_exact(&mut message)?;
            Ok(Some(message))
        }
        other => Err(HandshakeError::NotBlackout(other)),
    }
}

/// The controller's part of the handshake.
///
/// # Errors
/// When the keys differ, the peer is something else, or the connection fails.
pub fn initiate(stream: &mut (impl Read + Write), psk: &Psk) -> Result<StatelessTransportState, HandshakeError> {
    let mut state = builder(psk)?.build_initiator().map_err(HandshakeError::Setup)?;
    send(stream, &mut state)?;
    let answer = receive(stream)?.ok_or(HandshakeError::KeyRefused)?;
    state.read_message(&answer, &mut []).map_err(|_| HandshakeError::Forged)?;
    state.into_stateless_transport_mode().map_err(HandshakeError::Setup)
}

/// First messages that were read before. A first message proves that its sender had the key when
/// it was made, not that it is the sender now: it can be recorded and played again.
#[derive(Debug, Default)]
pub struct Seen {
    known: HashSet<[u8; EPHEMERAL_BYTES]>,
    order: VecDeque<[u8; EPHEMERAL_BYTES]>,
}

/// An ephemeral public key; no two handshakes have the same.
const EPHEMERAL_BYTES: usize = 32;
/// First messages remembered. Only those made with the key are, so nobody without it can push one
/// out; 65,536 are a controller's reconnects of half a day at the shortest distance, and 5 MiB at most.
const REMEMBERED: usize = 1 << 16;

impl Seen {
    /// Whether this first message is new; then it is remembered.
    fn is_new(&mut self, first: &[u8; HANDSHAKE_BYTES]) -> bool {
        let Some(ephemeral) = first.first_chunk().copied() else { return false };
        if !self.known.insert(ephemeral) {
            return false;
        }
        self.order.push_back(ephemeral);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// The agent's part of the handshake, with a peer that may have recorded an earlier one. `proven` is
/// called once it has shown, by a first message of its own, that it has the key.
///
/// # Errors
/// When the keys differ, the peer is something else, the first message is not new, or the connection
/// fails.
pub fn respond_once(
    stream: &mut (impl Read + Write),
    psk: &Psk,
    seen: &Mutex<Seen>,
    proven: impl FnOnce(),
) -> Result<StatelessTransportState, HandshakeError> {
    respond_if(stream, psk, |first| {
        let new = seen.lock().unwrap_or_else(PoisonError::into_inner).is_new(first);
        if !new {
            return Err(HandshakeError::Replayed);
        }
        proven();
        Ok(())
    })
}

/// The agent's part of the handshake.
///
/// # Errors
/// When the keys differ, the peer is something else, or the connection fails.
pub fn respond(stream: &mut (impl Read + Write), psk: &Psk) -> Result<StatelessTransportState, HandshakeError> {
    respond_if(stream, psk, |_| Ok(()))
}

fn respond_if(
    stream: &mut (impl Read + Write),
    psk: &Psk,
    accepted: impl FnOnce(&[u8; HANDSHAKE_BYTES]) -> Result<(), HandshakeError>,
) -> Result<StatelessTransportState, HandshakeError> {
    let mut state = builder(psk)?.build_responder().map_err(HandshakeError::Setup)?;
    let first = receive(stream)?.ok_or(HandshakeError::NotBlackout(0))?;
    if state.read_message(&first, &mut []).is_err() {
        // The controller learns it from this if it can; if it is gone, we need not care.
        let _ = stream.write_all(&[0, 0]).and_then(|()| stream.flush());
        return Err(HandshakeError::KeyDiffers);
    }
    accepted(&first)?;
    send(stream, &mut state)?;
    state.into_stateless_transport_mode().map_err(HandshakeError::Setup)
}

impl HandshakeError {
    /// Whether this side alone is the reason, so that trying again cannot help. All else was said by
    /// a peer that has not shown that it has the key.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Setup(_) => true,
            Self::KeyRefused | Self::KeyDiffers | Self::NotBlackout(_) | Self::Replayed | Self::Forged => false,
            Self::Io(e) => e.kind() == ErrorKind::Unsupported,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    fn meet(a: &Psk, b: &Psk) -> (Result<StatelessTransportState, HandshakeError>, Option<HandshakeError>) {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let b = b.clone();
        let other = thread::spawn(move || respond(&mut theirs, &b).err());
        (initiate(&mut ours, a), other.join().unwrap())
    }

    #[test]
    fn the_same_key_opens_and_another_is_told_on_both_sides() {
        let (a, b) = (Psk::random(), Psk::random());
        let (ours, theirs) = meet(&a, &a);
        assert!(ours.is_ok() && theirs.is_none());
        let (ours, theirs) = meet(&a, &b);
        assert!(matches!(ours, Err(HandshakeError::KeyRefused)));
        assert!(matches!(theirs, Some(HandshakeError::KeyDiffers)));
    }

    #[test]
    fn a_first_message_opens_once() {
        let (psk, seen) = (Psk::random(), Mutex::default());
        let mut first = [0; 2 + HANDSHAKE_BYTES];
        first[1] = HANDSHAKE_BYTES as u8;
        let mut state = builder(&psk).unwrap().build_initiator().unwrap();
        state.write_message(&[], &mut first[2..]).unwrap();
        let answer = |bytes: &[u8], proven: &mut bool| {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            ours.write_all(bytes).unwrap();
            respond_once(&mut theirs, &psk, &seen, || *proven = true)
        };
        let (mut once, mut again) = (false, false);
        assert!(answer(&first, &mut once).is_ok());
        assert!(matches!(answer(&first, &mut again), Err(HandshakeError::Replayed)));
        assert_eq!((once, again), (true, false));
        // Nothing of it can be changed so that it would be new.
        for at in 2..first.len() {
            let mut other = first;
            other[at] ^= 0x80;
            assert!(answer(&other, &mut again).is_err());
        }
        assert!(!again);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut seen = Seen::default();
        let message = |n: usize| {
            let mut bytes = [0; HANDSHAKE_BYTES];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            bytes
        };
        assert!((0..REMEMBERED + 10).all(|n| seen.is_new(&message(n))));
        assert_eq!((seen.known.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!seen.is_new(&message(REMEMBERED)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn strangers_never_get_in(bytes in proptest::collection::vec(any::<u8>(), 0..120), well_formed in any::<bool>()) {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            if well_formed {
                ours.write_all(&(HANDSHAKE_BYTES as u16).to_be_bytes()).unwrap();
            }
            ours.write_all(&bytes).unwrap();
            ours.shutdown(std::net::Shutdown::Write).unwrap();
            prop_assert!(respond(&mut theirs, &Psk::random()).is_err());
        }
    }
}
