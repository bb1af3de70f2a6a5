/* The floor of probing: asks N servers on ports from FIRST on over kept connections, each once a
 * second, spread over the second, and does nothing else. Ends by itself after SECONDS. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char QUESTION[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

static int reach(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        perror("connect");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    long n = atol(argv[1]), first = atol(argv[2]), seconds = atol(argv[3]);
    int *fds = calloc(n, sizeof *fds);
    for (long i = 0; i < n; i++)
        fds[i] = reach(first + i);
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (long asked = 0; asked < n * seconds; asked++) {
        char answer[4096];
        int fd = fds[asked % n];
        if (write(fd, QUESTION, sizeof QUESTION - 1) < 0)
            return 1;
        ssize_t len = read(fd, answer, sizeof answer);
        if (len < 12 || memcmp(answer + 9, "200", 3) != 0)
            return 1;
        due.tv_nsec += 1000000000 / n;
        if (due.tv_nsec >= 1000000000) {
            due.tv_nsec -= 1000000000;
            due.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    }
    return 0;
}
