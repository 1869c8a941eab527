case $- in *i*) ;; *) return ;; esac
shopt -s checkwinsize
if [ "$(id -u)" = 0 ]; then PS1='[root@\h \W]# '; else PS1='[\u@\h \W]$ '; fi
HISTCONTROL=ignoreboth
alias ll='ls -l'
