//! Sealing and opening packets.

use bytes::BytesMut;
use divan::Bencher;
use divan::counter::BytesCount;
use tertulia::secure::{Opener, Sealer};
use tertulia::wire::DataHeader;

/// The length of what is sealed, and of a whole datagram with its header and tag.
const LENGTHS: [usize; 2] = [100, 1_171];
const KEY: [u8; 32] = [7; 32];
const CID: [u8; 8] = [8; 8];

fn seal(sealer: &mut Sealer, number: u64, len: usize, out: &mut Vec<u8>) {
    let header = DataHeader::new(&CID, number, number.checked_sub(1));
    let start = out.len();
    let number_offset = header.encode(out);
    out.resize(out.len() + len, b'x');
    sealer.seal(number, out, start, number_offset);
}

#[divan::bench(args = LENGTHS)]
fn seal_a_packet(bencher: Bencher<'_, '_>, len: usize) {
    let mut sealer = Sealer::new(&KEY);
    let mut out = Vec::with_capacity(2 * len + 64);
    let mut number = 0;
    bencher.counter(BytesCount::new(len)).bench_local(move || {
        out.clear();
        number += 1;
        seal(&mut sealer, number, len, &mut out);
        out.len()
    });
}

#[divan::bench(args = LENGTHS)]
fn open_a_packet(bencher: Bencher<'_, '_>, len: usize) {
    let mut sealer = Sealer::new(&KEY);
    let mut opener = Opener::new(&KEY);
    let mut number = 0;
    bencher
        .counter(BytesCount::new(len))
        .with_inputs(|| {
            number += 1;
            let mut out = Vec::new();
            seal(&mut sealer, number, len, &mut out);
            BytesMut::from(&out[..])
        })
        .bench_local_values(|datagram| {
            let opened = opener.open(datagram, CID.len());
            opened.expect("it was sealed with the same key").number
        });
}
