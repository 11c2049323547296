//! One command, a working chat; and the rooms of it.

use std::net::{SocketAddr, UdpSocket};

use crate::support::{Program, Scene};

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.local_addr().expect("its address")
}

fn host(scene: &Scene, address: SocketAddr) -> Program {
    Program::bare_node(scene)
        .called("host")
        .args(&["--host", "--broker", &address.to_string()])
}

/// CLI-10, CLI-1, CLI-2, CLI-3: the host is a node like any other, and the chat ends with it.
#[test]
fn one_node_hosts_and_another_joins_it() {
    let scene = Scene::new();
    let address = free_address();
    let mut ada = scene.join_with(host(&scene, address), "ada");
    let mut bob = scene.join(address, "bob");
    ada.shows("SERVER: bob Joined!");
    bob.type_line("is anybody home?");
    ada.shows("bob: is anybody home?");
    bob.type_line("q!");
    bob.finish().exited_with(0);
    ada.shows("SERVER: bob Left!");
    ada.type_line("q!");
    ada.finish().exited_with(0).said("hosting on 127.0.0.1");
}

/// CLI-10, CLI-6: an address in use, a public one, and a URL are refused with a reason.
#[test]
fn hosting_where_one_cannot_is_refused_with_a_reason() {
    let scene = Scene::new();
    let taken = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let taken = taken
        .local_addr()
        .map(|address| (address, taken))
        .expect("its address");
    host(&scene, taken.0)
        .run(b"ada\n")
        .exited_with(69)
        .said("cannot host at 127.0.0.1");
    for arguments in [
        ["--host", "--broker", "192.0.2.1:20001"].as_slice(),
        &["--host", "chat://127.0.0.1:20001/lobby"],
    ] {
        Program::bare_node(&scene)
            .args(arguments)
            .run(b"")
            .exited_with(64)
            .said("--host");
    }
}

/// CLI-1, CLI-3, RUM-12, RUM-13, SGN-6: rooms are joined, asked about and left by commands, whose
/// answers go to stderr.
#[test]
fn rooms_are_joined_asked_about_and_left_by_commands() {
    let scene = Scene::new();
    let broker = scene.broker().start_broker();
    let mut ada = scene.join(broker.address, "ada");
    let mut bob = scene.join(broker.address, "bob");
    ada.shows("SERVER: bob Joined!");
    for node in [&mut ada, &mut bob] {
        node.type_line("/join garden");
        node.says("what you type goes to garden");
    }
    ada.shows("SERVER: bob Joined!");
    bob.type_line("roses");
    ada.shows("bob: roses");
    ada.type_line("/join lobby");
    ada.says("what you type goes to lobby");
    bob.type_line("tulips");
    ada.shows("[garden] bob: tulips");
    ada.type_line("/who garden");
    ada.says("in garden: ");
    ada.type_line("/rooms");
    ada.says("rooms: garden (2), lobby (2)");
    bob.type_line("/leave");
    bob.says("you have left garden");
    ada.shows("[garden] SERVER: bob Left!");
    bob.says("what you type goes to lobby");
    bob.type_line("/leave");
    bob.says("you are in no room");
    bob.type_line("anybody?");
    bob.says("you are in no room: /join ROOM");
    bob.type_line("/join lobby");
    ada.shows_times("SERVER: bob Joined!", 2);
    bob.type_line("/nonsense is a line");
    ada.shows("bob: /nonsense is a line");
}
