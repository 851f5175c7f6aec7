/* The floor to compare with: an epoll loop that relays every text frame to all other connections of the same path.
 *
 * It knows no sessions, no tokens, no store, no keepalive and no limits. It accepts one Sec-WebSocket-Key only, that of
 * our load client. A receiver whose socket is full loses the frame: received/expected below 1 would show it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18, EVENTS = 1024, PATH_BYTES = 64 };

struct connection;

struct group {
    char path[PATH_BYTES];
    struct connection **members;
    int count, room;
    struct group *next;
};

struct connection {
    int fd, place, is_open, rest_length;
    char *rest;
    struct group *group;
};

static const char SWITCHING[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
static struct group *groups;
static unsigned char input[2 * READ_BYTES];
static unsigned char frame[READ_BYTES + 16];

static struct group *group_of(const char *path) {
    for (struct group *each = groups; each; each = each->next)
        if (!strcmp(each->path, path)) return each;
    struct group *made = calloc(1, sizeof *made);
    snprintf(made->path, PATH_BYTES, "%s", path);
    made->next = groups;
    return groups = made;
}

static void join(struct connection *c, const char *path) {
    struct group *g = c->group = group_of(path);
    if (g->count == g->room) g->members = realloc(g->members, (g->room = g->room ? 2 * g->room : 2) * sizeof *g->members);
    c->place = g->count;
    g->members[g->count++] = c;
}

static void leave(struct connection *c) {
    if (c->group) {
        struct connection *last = c->group->members[--c->group->count];
        c->group->members[last->place = c->place] = last;
    }
    close(c->fd);
    free(c->rest);
    free(c);
}

static void relay(struct connection *from, unsigned char *payload, int length) {
    int header = 2;
    frame[0] = 0x81;
    if (length < 126) {
        frame[1] = length;
    } else {
        frame[1] = 126, frame[2] = length >> 8, frame[3] = length, header = 4;
    }
    memcpy(frame + header, payload, length);
    for (int i = 0; i < from->group->count; i++) {
        struct connection *to = from->group->members[i];
        if (to != from) (void)!send(to->fd, frame, header + length, MSG_NOSIGNAL);
    }
}

/* Handle the complete frames in `data`; return how much they took, -1 for a close frame. */
static int frames(struct connection *c, unsigned char *data, int size) {
    int at = 0;
    while (size - at >= 6) {
        unsigned char *head = data + at;
        int length = head[1] & 127, start = 2;
        if (length == 126) {
            if (size - at < 8) break;
            length = head[2] << 8 | head[3], start = 4;
        }
        if (size - at < start + 4 + length) break;
        unsigned char *mask = head + start, *payload = mask + 4;
        for (int i = 0; i < length; i++) payload[i] ^= mask[i & 3];
        if ((head[0] & 15) == 8) return -1;
        if ((head[0] & 15) == 1) relay(c, payload, length);
        at += start + 4 + length;
    }
    return at;
}

static int handshake(struct connection *c, unsigned char *data, int size) {
    unsigned char *end = memmem(data, size, "\r\n\r\n", 4);
    char path[PATH_BYTES] = "";
    if (!end) return 0;
    sscanf((char *)data, "GET %63s", path);
    join(c, path);
    c->is_open = 1;
    (void)!send(c->fd, SWITCHING, sizeof SWITCHING - 1, MSG_NOSIGNAL);
    return end - data + 4;
}

static void readable(struct connection *c) {
    int size = c->rest_length;
    memcpy(input, c->rest, size);
    int got = recv(c->fd, input + size, READ_BYTES, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return leave(c);
    size += got;
    input[size] = 0;
    int taken = c->is_open ? 0 : handshake(c, input, size);
    if (c->is_open) {
        int more = frames(c, input + taken, size - taken);
        if (more < 0) return leave(c);
        taken += more;
    }
    c->rest_length = size - taken;
    c->rest = realloc(c->rest, c->rest_length + 1);
    memcpy(c->rest, input + taken, c->rest_length);
}

static void accept_all(int listener, int poller) {
    int fd, one = 1;
    while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->rest = malloc(1);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int count, char **arguments) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(count > 1 ? atoi(arguments[1]) : 0)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) return perror("relay"), 1;
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) readable(events[i].data.ptr);
            else accept_all(listener, poller);
        }
    }
}
