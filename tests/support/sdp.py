"""SDP as browsers and aiortc make it, shortened to what each kind of line looks like. Addresses are those of RFC 5737."""

from typing import Final

FINGERPRINT: Final = "sha-256 " + ":".join(f"{byte:02X}" for byte in range(32))
HOST: Final = "candidate:842163049 1 udp 2122260223 192.0.2.7 46154 typ host generation 0 ufrag Yk2x network-cost 999"
MDNS: Final = "candidate:0 1 UDP 2122187007 5f2c9d5e-9b3f-4c3b-8f64-1d5be2b7d0a1.local 50000 typ host"
REFLEXIVE: Final = "candidate:1 1 udp 1677729535 198.51.100.4 46154 typ srflx raddr 192.0.2.7 rport 46154 generation 0"
RELAYED: Final = "candidate:2 1 udp 33562367 203.0.113.9 49201 typ relay raddr 198.51.100.4 rport 46154 generation 0"
OVER_TCP: Final = "candidate:3 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active generation 0"

_LINES: Final = f"""v=0
o=- 4611731400430051336 2 IN IP4 192.0.2.7
s=-
t=0 0
a=group:BUNDLE 0 1 2
a=extmap-allow-mixed
a=msid-semantic: WMS c0ffee
m=audio 46154 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 192.0.2.7
a=rtcp:9 IN IP4 0.0.0.0
a={HOST}
a={RELAYED}
a=ice-ufrag:Yk2x
a=ice-pwd:asd88fgpdd777uzjYhagZg+/
a=ice-options:trickle
a=fingerprint:{FINGERPRINT}
a=setup:actpass
a=mid:0
a=sendrecv
a=msid:c0ffee 5f2c9d5e-9b3f-4c3b-8f64-1d5be2b7d0a1
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=ssrc:3735928559 cname:fZ+kD7bTn8Vq0QpX
m=video 9 UDP/TLS/RTP/SAVPF 96 97
c=IN IP6 ::
a=rtcp:46155 IN IP4 192.0.2.7
a=mid:1
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack pli
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:2
a=sctp-port:5000
a=end-of-candidates
"""
OFFER: Final = _LINES.replace("\n", "\r\n")
ANSWER: Final = OFFER.replace("a=setup:actpass", "a=setup:active")
