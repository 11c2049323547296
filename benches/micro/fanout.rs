//! A line to everybody in the room: the broker's part of it, from the datagram that brings it to
//! the datagrams that spread it. Storing is memory's, and sending is nobody's.

use std::cell::RefCell;

use divan::Bencher;
use divan::counter::ItemsCount;

use crate::crowd::Crowd;

/// So many lines go first, by which buffers grow to their size.
const WARM_UP: usize = 20;

#[divan::bench(args = [50, 500], sample_size = 1, sample_count = 500)]
fn a_line_to_everybody(bencher: Bencher<'_, '_>, members: usize) {
    let mut crowd = Crowd::new(members, 100);
    for _ in 0..WARM_UP {
        let arrivals = crowd.say();
        crowd.serve(arrivals);
        crowd.deliver();
    }
    let crowd = RefCell::new(crowd);
    bencher
        .counter(ItemsCount::new(members))
        .with_inputs(|| {
            let mut crowd = crowd.borrow_mut();
            crowd.deliver();
            crowd.say()
        })
        .bench_local_values(|arrivals| {
            assert!(!arrivals.is_empty(), "nothing to serve");
            crowd.borrow_mut().serve(arrivals);
        });
}
