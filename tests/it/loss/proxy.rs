//! A TCP relay on loopback that can be closed: the network between two processes.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The relay, until the process ends.
pub(super) struct Proxy {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// Relays to a loopback port.
    pub(super) fn start(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::<Mutex<State>>::default();
        let own = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Whoever is refused notices by itself.
                drop(relay(stream, to, &own));
            }
        });
        Proxy { port, state }
    }

    /// Breaks what is open and lets nobody in.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().expect("no thread panics while it holds it");
        state.is_closed = true;
        for stream in state.open.drain(..) {
            // One that is gone already is as good.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn open(&self) {
        self.state.lock().expect("no thread panics while it holds it").is_closed = false;
    }
}

fn relay(from: TcpStream, to: u16, state: &Mutex<State>) -> std::io::Result<()> {
    let mut state = state.lock().expect("no thread panics while it holds it");
    if state.is_closed {
        return from.shutdown(Shutdown::Both);
    }
    let to = TcpStream::connect(("127.0.0.1", to))?;
    pump(from.try_clone()?, to.try_clone()?);
    pump(to.try_clone()?, from.try_clone()?);
    state.open.extend([from, to]);
    Ok(())
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        // Both ways end together, however one of them does.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
