//! Sockets, clocks and files around the machines.
