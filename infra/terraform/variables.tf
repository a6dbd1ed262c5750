# Not run here: see main.tf.
variable "domain" {
  description = "Name of the server in the DNS; it must lead to the address in the outputs."
  type        = string
}

variable "ssh_cidr" {
  description = "From where ssh is allowed, as 203.0.113.7/32."
  type        = string
}

variable "wheel_url" {
  description = "Where the machine gets Cogflare: an https URL of a wheel that `python3 -m build` or `pip wheel .` made."
  type        = string
}

variable "key_name" {
  description = "An SSH key pair of the region."
  type        = string
  default     = null
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "instance_type" {
  description = "Two cores and 4 GiB are enough for the server; models run elsewhere."
  type        = string
  default     = "t4g.medium"
}

variable "data_gb" {
  description = "Size of the data volume: queues and results; files are in the bucket."
  type        = number
  default     = 20
}
