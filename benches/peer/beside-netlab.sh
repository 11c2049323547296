#!/bin/sh
# usage: beside-netlab.sh NETLAB-FOLDER NETLAB-BINARIES PEER-BINARY OUT
#
# Makes OUT/report.py and OUT/bin, with which netlab's matrix has `ours` as one more peer:
#   NETLAB_BIN=OUT/bin OUT/report.py run thin --only quic,kcp-flush,ours --out OUT/results
# Nothing is written to netlab's own folders.
set -eu
[ $# -eq 4 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$1 binaries=$(realpath "$2") peer=$(realpath "$3") out=$4
mkdir -p "$out/bin"
ln -sf "$binaries/netlab" "$out/bin/netlab"
cat > "$out/bin/peers" <<EOF
#!/bin/sh
case " \$* " in
    *" --proto ours "*) exec "$peer" "\$@" ;;
    *) exec "$binaries/peers" "\$@" ;;
esac
EOF
chmod +x "$out/bin/peers"
sed 's/^    # \("ours": (.*),\).*/    \1/' "$folder/report.py" > "$out/report.py"
grep -q '^    "ours"' "$out/report.py" || { echo "report.py has no place for ours" >&2; exit 1; }
chmod +x "$out/report.py"
