//! Frames to and from bytes.

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use tertulia::wire::{Frame, decode_frames};

/// Messages of this length, as many as fit a packet.
const MESSAGES: [usize; 2] = [100, 1_000];
/// The room for frames in a datagram, about.
const ROOM: usize = 1_150;

fn frames(len: usize) -> Vec<Frame> {
    let message = |number| Frame::Msg {
        channel: 1,
        number,
        data: Bytes::from(vec![b'x'; len]),
    };
    (0..(ROOM / len) as u64).map(message).collect()
}

#[divan::bench(args = MESSAGES)]
fn encode_a_packet(bencher: Bencher<'_, '_>, len: usize) {
    let frames = frames(len);
    let mut out = Vec::with_capacity(2 * ROOM);
    bencher
        .counter(BytesCount::new(frames.len() * len))
        .bench_local(move || {
            out.clear();
            black_box(&frames)
                .iter()
                .for_each(|frame| frame.encode(&mut out));
            out.len()
        });
}

#[divan::bench(args = MESSAGES)]
fn decode_a_packet(bencher: Bencher<'_, '_>, len: usize) {
    let frames = frames(len);
    let mut out = Vec::new();
    frames.iter().for_each(|frame| frame.encode(&mut out));
    let packet = Bytes::from(out);
    bencher
        .counter(BytesCount::new(frames.len() * len))
        .bench(|| {
            let frames = decode_frames(black_box(packet.clone()));
            frames.filter(|frame| frame.is_ok()).count()
        });
}
