//! How often memory is allocated for a line on its way through the broker, for each member that
//! gets it: `cargo bench --bench allocations`.
//!
//! Only the broker's part is counted, from the datagram that brings the line to those that spread
//! it, with the acknowledgements that come in meanwhile; the first lines, by which buffers grow to
//! their size, are not.

mod crowd;

use crowd::Crowd;

const WARM_UP: usize = 3_000;
const LINES: usize = 1_000;
/// What storing a line and answering its author may take.
const ALLOCATIONS_PER_LINE: f64 = 12.0;
/// What a delivery may take in the long run: it takes nothing itself, but now and then a member
/// reports to the store what it has.
const ALLOCATIONS_PER_DELIVERY: f64 = 0.01;

fn main() {
    for members in [1, 50, 500] {
        let mut crowd = Crowd::new(members, 100);
        let (mut allocations, mut bytes, mut deliveries) = (0, 0, 0);
        for line in 0..WARM_UP + LINES {
            let arrivals = crowd.say();
            let counted = allocation_counter::measure(|| crowd.serve(arrivals));
            let delivered = crowd.deliver();
            if line >= WARM_UP {
                allocations += counted.count_total;
                bytes += counted.bytes_total;
                deliveries += delivered;
            }
        }
        // Some are on their way when the counting begins and ends.
        assert!(
            deliveries.abs_diff(LINES * members) <= 4 * members,
            "{deliveries} deliveries"
        );
        let per_delivery = allocations as f64 / deliveries as f64;
        assert!(
            per_delivery < ALLOCATIONS_PER_LINE / members as f64 + ALLOCATIONS_PER_DELIVERY,
            "{per_delivery} allocations per delivery"
        );
        println!(
            "members {members:>4}  allocations per line {:>8.2}  per delivery {:>6.3}  bytes {:>7.1}",
            allocations as f64 / LINES as f64,
            per_delivery,
            bytes as f64 / deliveries as f64,
        );
    }
}
